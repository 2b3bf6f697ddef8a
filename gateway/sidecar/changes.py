"""The change log in the database."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.contract.policy import Change
from gateway.domain.changes import repo
from gateway.store.engine import Store


class StoredLog:
    """A :class:`~gateway.sidecar.log.ChangeLog` over the table ``policy_changes``."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def last(self) -> int:
        """See the interface."""
        async with self.store.reading() as session:
            return await repo.current(session)

    async def since(self, after: int, limit: int) -> Sequence[Change]:
        """See the interface."""
        async with self.store.reading() as session:
            return await repo.after(session, after, limit)

    async def prune(self, keep: int) -> None:
        """See the interface."""
        async with self.store.writing() as session:
            await repo.prune(session, keep)
