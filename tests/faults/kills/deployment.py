"""What can be killed: the interface of both deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.faults.kills.tree import Tree


class Deployment(Protocol):
    """Processes that can be killed. ``kinds`` is the order in which they are, each of them by its share.

    ``nodes`` are the gateways that write usage events; ``database_url`` and ``data_dir`` are where the ledger is.
    """

    name: str
    kinds: Sequence[str]
    nodes: Sequence[Tree]
    database_url: str | None

    def __init__(self, upstream: str, folder: Path, env: Mapping[str, str] | None = None) -> None: ...

    @property
    def data_dir(self) -> str:
        """Where the ledger is, without a ``database_url``."""

    @property
    def ledgers(self) -> Sequence[Path]:
        """Configurations by which the ledger can be verified."""

    async def start(self) -> None:
        """Start everything."""

    def roots(self) -> Sequence[str]:
        """Where requests can be sent to now."""

    def living(self, kind: str) -> list[int]:
        """What there is of a kind to kill now."""

    async def kill(self, kind: str, pid: int) -> bool:
        """Kill one of those; False where it had ended. What nobody else starts again is started here."""

    async def stop(self) -> None:
        """End everything as an operator does; their ends are checked."""

    def log(self) -> str:
        """What the processes wrote last."""
