"""The gateway as it runs from source, beside the compiled one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks import tools
from benchmarks.peers import gateway
from benchmarks.peers.base import Peer


def version() -> str:
    """What tells it from the other."""
    return "from source"


@contextmanager
def start(folder: Path, upstream: str) -> Iterator[Peer]:
    """Run it in front of ``upstream``, configured like the other."""
    with gateway.start(folder, upstream, [tools.gateway_command()]) as peer:
        yield replace(peer, name="plain")
