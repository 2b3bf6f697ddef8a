"""Late prices: what was entered into the ledger before its price was told is rated anew, by reversal and new entry.

A version is late where it begins before it was made: a correction by API, or a first price of something that was used
before. Which versions have been dealt with is kept in the table, so that none is forgotten when a process ends midway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from sqlalchemy import select, update

from gateway.domain.actor import SYSTEM
from gateway.domain.ledger.corrections import Meant
from gateway.domain.ledger.rating import Rater
from gateway.domain.ledger.service import LedgerService
from gateway.domain.pricing import repo
from gateway.domain.pricing.book import nanoseconds
from gateway.domain.pricing.model import PriceRevision, PriceVersion
from gateway.domain.pricing.price import Price
from gateway.domain.work import Works

SETTLED = timedelta(seconds=5)
"""How old a version must be: a batch that was rated before it was told has been entered by then."""
_NAME = "rerated"
_AT_ONCE = 100


async def catch_up(
    works: Works, rater: Callable[[], Awaitable[Rater]], *, stopping: Callable[[], bool] = lambda: False
) -> int:
    """Rate anew what late prices hold for; gives how many entries came out differently.

    ``rater`` is asked for each price, so that it knows the prices of then. ``stopping`` is asked before each
    transaction; what is left by then is done another time.
    """
    corrected = 0
    while not stopping() and (versions := await _pending(works)):
        for version in versions:
            if version.late:
                entries, done = await _rerate(works, await rater(), version.price, stopping)
                corrected += entries
                if not done:
                    return corrected
                await _mark(works, version.price.number)
        await _mark(works, versions[-1].price.number)
    return corrected


class _Version:
    def __init__(self, row: PriceVersion) -> None:
        self.price = repo.price_of(row)
        held = row.effective_to is None or row.effective_from < row.effective_to
        self.late = held and row.effective_from < row.created_at


async def _pending(works: Works) -> list[_Version]:
    async with works.read(SYSTEM) as work:
        mark = await work.session.scalar(select(PriceRevision.revision).where(PriceRevision.name == _NAME))
        query = select(PriceVersion).where(
            PriceVersion.number > (mark or 0),
            # Default prices are found for what was used before they are stored.
            PriceVersion.source != "default",
            PriceVersion.created_at <= work.now - SETTLED,
        )
        rows = await work.session.scalars(query.order_by(PriceVersion.number).limit(_AT_ONCE))
        return [_Version(row) for row in rows]


async def _rerate(works: Works, rater: Rater, price: Price, stopping: Callable[[], bool]) -> tuple[int, bool]:
    """How many entries came out differently, and whether all were looked at."""
    meant = Meant(
        provider=price.provider,
        model=price.model,
        from_ns=nanoseconds(price.effective_from),
        until_ns=None if price.effective_to is None else nanoseconds(price.effective_to),
    )
    corrected = 0
    while not stopping():
        async with works.begin(SYSTEM) as work:
            done = await LedgerService(work, rater).rerate(meant)
        corrected += done.entries
        if not done.more:
            return corrected, True
    return corrected, False


async def _mark(works: Works, number: int) -> None:
    async with works.begin(SYSTEM) as work:
        await repo.add_counter(work.session, _NAME)
        # Another sidecar may be further already.
        further = (PriceRevision.name == _NAME, PriceRevision.revision < number)
        await work.session.execute(update(PriceRevision).where(*further).values(revision=number))
