"""The embedded deployment: ``gateway serve`` with two workers and its sidecar, over SQLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.faults.kills.settings import gateway_config
from tests.faults.kills.tree import Tree, kill


class Embedded:
    """One tree. See :class:`tests.faults.kills.deployment.Deployment`."""

    name = "embedded"
    kinds: Sequence[str] = ("worker", "sidecar", "worker", "counter", "tree")

    def __init__(self, upstream: str, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.tree = Tree(gateway_config(upstream), folder, "serve", env)
        self.nodes: Sequence[Tree] = (self.tree,)
        self.database_url: str | None = None

    @property
    def data_dir(self) -> str:
        """Where the ledger is."""
        return str(self.tree.folder / "data")

    @property
    def ledgers(self) -> Sequence[Path]:
        """Configurations by which the ledger can be verified."""
        return [self.tree.config_path]

    async def start(self) -> None:
        """Start it."""
        await self.tree.start()

    def roots(self) -> Sequence[str]:
        """Where requests can be sent to."""
        return [] if self.tree.root is None else [self.tree.root]

    def living(self, kind: str) -> list[int]:
        """The ids of the processes of a kind that run."""
        if kind == "tree":
            return [0] if self.tree.root is not None else []
        of_kind = {"worker": self.tree.workers, "sidecar": self.tree.sidecars, "counter": self.tree.counters}
        return of_kind[kind]()

    async def kill(self, kind: str, pid: int) -> bool:
        """Kill one of them. What nobody else starts again is started here."""
        if kind != "tree":
            return kill(pid)
        await self.tree.restart()
        return True

    async def stop(self) -> None:
        """End it as an operator does."""
        await self.tree.stop()

    def log(self) -> str:
        """What the processes wrote last."""
        return self.tree.log()
