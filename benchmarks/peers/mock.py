"""The mock upstream as a process of its own, and the peer that asks it directly."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import tools
from benchmarks.child import running
from benchmarks.peers.base import Peer


@contextmanager
def start(folder: Path) -> Iterator[Peer]:
    """Run the mock upstream. The peer is called ``direct`` and is charged for nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.upstream"]
    with running(command, folder / "output", {"PYTHONPATH": str(tools.ROOT)}) as child:
        yield Peer("direct", str(child.wait_ready()["url"]))
