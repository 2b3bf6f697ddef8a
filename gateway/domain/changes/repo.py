"""Reading the change log, and keeping it short."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.contract.policy import Change
from gateway.domain.changes.model import PolicyChange

KEPT = 100_000
_PAGE = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def current(session: AsyncSession) -> int:
    """The number of the last change; 0 where there is none."""
    return await session.scalar(select(func.max(PolicyChange.seq))) or 0


async def after(session: AsyncSession, seq: int, limit: int = _PAGE) -> list[Change]:
    """The changes after number ``seq``, at most ``limit``, in their order.

    One of kind ``everything``, numbered like the last change, where some of them are no longer kept.
    """
    oldest = await session.scalar(select(func.min(PolicyChange.seq)))
    if oldest is not None and seq < oldest - 1:
        last = await session.scalar(select(PolicyChange).order_by(PolicyChange.seq.desc()).limit(1))
        assert last is not None
        return [Change(last.seq, _nanoseconds(last.at), "everything", "")]
    query = select(PolicyChange).where(PolicyChange.seq > seq).order_by(PolicyChange.seq).limit(limit)
    return [as_change(row) for row in await session.scalars(query)]


async def prune(session: AsyncSession, keep: int = KEPT) -> None:
    """Forget all but the last ``keep`` changes."""
    last = await current(session)
    await session.execute(delete(PolicyChange).where(PolicyChange.seq <= last - keep))


def as_change(row: PolicyChange) -> Change:
    """The row as the planes exchange it."""
    return Change(row.seq, _nanoseconds(row.at), row.kind, row.id, row.digest)  # type: ignore[arg-type]


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1_000
