"""How many calls of models went through the gateway, by the ledger's sums."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.contract.windows import window_bounds
from gateway.domain.ledger import totals
from gateway.domain.ledger.query import Filter

SECOND = 1_000_000_000


async def calls(session: AsyncSession, wanted: Filter) -> int:
    """The calls among what is asked for. Usage that was reported of another system has no credential, and is none."""
    found = await totals.sums(session, wanted, ("credential",), None, ("requests",))
    return sum(item.requests for item in found if item.group[0])


def since(window: str, now: datetime) -> int:
    """The beginning, in Unix nanoseconds, of the calendar's ``window`` that holds ``now``."""
    return int(window_bounds(window, now.timestamp())[0]) * SECOND
