"""The change log in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import msgspec
from sqlalchemy import delete, func, select

from gateway.contract.policy import Change
from gateway.domain.changes.model import PolicyChange
from gateway.store.engine import Store

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class StoredLog:
    """A :class:`~gateway.sidecar.log.ChangeLog` over the table ``policy_changes``."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def last(self) -> int:
        """See the interface."""
        async with self.store.reading() as session:
            return await session.scalar(select(func.max(PolicyChange.seq))) or 0

    async def since(self, after: int, limit: int) -> Sequence[Change]:
        """See the interface."""
        wanted = select(PolicyChange).where(PolicyChange.seq > after).order_by(PolicyChange.seq).limit(limit)
        async with self.store.reading() as session:
            return [_change(row) for row in await session.scalars(wanted)]

    async def prune(self, keep: int) -> int:
        """See the interface."""
        last = await self.last()
        async with self.store.writing() as session:
            done = await session.execute(delete(PolicyChange).where(PolicyChange.seq <= last - keep))
        return cast("int", done.rowcount)  # type: ignore[attr-defined]


def _change(row: PolicyChange) -> Change:
    fields = {
        "seq": row.seq,
        "at_ns": (row.at - _EPOCH) // _MICROSECOND * 1000,
        "kind": row.kind,
        "id": row.id,
        "digest": row.digest,
    }
    return msgspec.convert(fields, Change)
