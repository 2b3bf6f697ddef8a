"""Detail goes after some days, sums stay."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select

from gateway.domain.ledger.levels import DAY
from gateway.domain.ledger.model import LedgerEntry
from gateway.store.engine import Store

CHUNK = 2_000
_NS = 1_000_000_000


def horizon(now: datetime, days: int) -> int:
    """The beginning, in Unix nanoseconds, of the first day whose entries are kept: days go whole, so that the sums of
    those that stay can be verified."""
    seconds = max(0, int(now.timestamp()) - days * DAY)
    return seconds // DAY * DAY * _NS


async def forget_before(store: Store, until_ns: int, *, chunk: int = CHUNK) -> int:
    """Delete the oldest entries that began before ``until_ns``, at most ``chunk`` in one short transaction.

    Gives how many; call it again while it is a full chunk. Sums are not touched.
    """
    async with store.writing() as session:
        query = select(LedgerEntry.number).where(LedgerEntry.started_ns < until_ns)
        numbers = list(await session.scalars(query.order_by(LedgerEntry.started_ns, LedgerEntry.number).limit(chunk)))
        for start in range(0, len(numbers), 500):  # SQLite takes 999 parameters in its oldest builds
            await session.execute(delete(LedgerEntry).where(LedgerEntry.number.in_(numbers[start : start + 500])))
    return len(numbers)
