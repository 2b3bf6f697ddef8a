"""What every measure shares: the plan, the gateway's command, the chosen peers and a folder to write in."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.plan import Plan


@dataclass(frozen=True)
class Bench:
    """The settings of one run."""

    plan: Plan
    gateway: Sequence[str]
    peers: Sequence[str] = field(default=())
    """Optional peers to measure besides: ``portkey``, ``litellm``."""

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A temporary folder that nginx's unprivileged worker can enter as well."""
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            path = Path(name)
            path.chmod(0o755)
            yield path


def say(text: str) -> None:
    """Progress, to standard error."""
    print(text, file=sys.stderr, flush=True)
