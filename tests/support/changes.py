"""A change log in memory, for what listens to one."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.contract.policy import Change


class MemoryLog:
    """Changes as a database would keep them; ``rows`` may be cut, put back, or made unreadable by ``broken``."""

    def __init__(self) -> None:
        self.rows: list[Change] = []
        self.broken = False

    def add(self, id: str = "key_1", digest: str | None = None) -> Change:
        """One more change."""
        seq = self.rows[-1].seq + 1 if self.rows else 1
        self.rows.append(Change(seq=seq, at_ns=seq, kind="credential", id=id, digest=digest))
        return self.rows[-1]

    async def last(self) -> int:
        self._check()
        return self.rows[-1].seq if self.rows else 0

    async def since(self, after: int, limit: int) -> Sequence[Change]:
        self._check()
        return [row for row in self.rows if row.seq > after][:limit]

    async def prune(self, keep: int) -> None:
        self._check()
        del self.rows[: max(0, len(self.rows) - keep)]

    def _check(self) -> None:
        if self.broken:
            raise OSError("the database is away")
