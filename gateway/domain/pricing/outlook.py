"""What targets cost from now on: every source's versions in one line, for who asks no database while it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from gateway.contract.prices import Priced, PriceFrom, Prices
from gateway.domain.actor import SYSTEM
from gateway.domain.pricing.book import PriceBook, nanoseconds
from gateway.domain.pricing.price import Price
from gateway.domain.work import Works
from gateway.kernel.currency import DayRate

AHEAD = 32
"""Versions told of one target, the one that holds now included."""
_SOURCES = ("api", "config")


async def outlook(works: Works, book: PriceBook, targets: Sequence[Priced]) -> Prices:
    """What these targets cost, by what the database says now. An organisation's own prices are not among it."""
    async with works.read(SYSTEM) as work:
        await book.refresh(work.session)
        listless = [target for target in targets if _needs_list(book, target, work.now)]
        if not listless:
            return _told(book, targets, work.now)
    # Loading the list takes half a second, and looking a model up a millisecond.
    await asyncio.to_thread(lambda: [book.defaults.find(target.provider, target.model) for target in listless])
    async with works.read(SYSTEM) as work:
        await book.refresh(work.session)
        return _told(book, targets, work.now)


def _told(book: PriceBook, targets: Sequence[Priced], now: datetime) -> Prices:
    found = [line_of(book, target, now) for target in targets]
    currencies = sorted({version.currency for versions in found for version in versions} - {"USD"})
    exchange: list[DayRate] = []
    for currency in currencies:
        exchange += book.exchange.since(currency, now.date())
    return Prices(found, exchange)


def _needs_list(book: PriceBook, target: Priced, now: datetime) -> bool:
    """Whether at some time from now on only a default price can hold, and the table has none."""
    if book.stored("default", target.provider, target.model) is not None:
        return False
    sources = _stored(book, target)
    return any(_at(sources, at) is None for at in _moments(sources, now))


def line_of(book: PriceBook, target: Priced, now: datetime) -> list[PriceFrom]:
    """What one target costs from now on, by the book as it is; where it needs the list of defaults, that is loaded."""
    sources = _stored(book, target)
    if any(_at(sources, at) is None for at in _moments(sources, now)):
        default = book.stored("default", target.provider, target.model)
        sources.append(book.defaults.find(target.provider, target.model) if default is None else default)
    line: list[tuple[datetime, Price | None]] = [(at, _at(sources, at)) for at in _moments(sources, now)]
    changes = [line[0], *(later for before, later in pairwise(line) if later[1] is not before[1])]
    if len(changes) == 1 and changes[0][1] is None:
        return []
    return [_from(0 if index == 0 else nanoseconds(at), price) for index, (at, price) in enumerate(changes[:AHEAD])]


def _stored(book: PriceBook, target: Priced) -> list[Sequence[Price]]:
    return [book.stored(source, target.provider, target.model) or () for source in _SOURCES]


def _moments(sources: Sequence[Sequence[Price]], now: datetime) -> list[datetime]:
    """Now, and whenever a version begins or ends later, as far as is looked ahead."""
    ends = {price.effective_to for prices in sources for price in prices if price.effective_to is not None}
    begins = {price.effective_from for prices in sources for price in prices}
    return [now, *sorted(at for at in begins | ends if at > now)[: len(sources) * 2 * AHEAD]]


def _at(sources: Sequence[Sequence[Price]], at: datetime) -> Price | None:
    """What holds at a time: by the first source that has something."""
    return next((price for prices in sources for price in prices if price.holds(at)), None)


def _from(begins_ns: int, price: Price | None) -> PriceFrom:
    if price is None:
        return PriceFrom(begins_ns)
    return PriceFrom(begins_ns, price.source, price.rates, price.tiers, price.hours, price.currency)
