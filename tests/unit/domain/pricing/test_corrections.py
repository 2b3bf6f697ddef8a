"""A price that is told late is entered into the ledger by reversal and new entry, and once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from gateway.domain.actor import SYSTEM
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.query import NewUsage
from gateway.domain.ledger.rating import BookRater, Rater
from gateway.domain.ledger.service import LedgerService
from gateway.domain.pricing.book import PriceBook, nanoseconds
from gateway.domain.pricing.corrections import SETTLED, catch_up
from gateway.domain.pricing.requests import NewPrice, PriceChange
from gateway.domain.pricing.service import PriceService
from gateway.sidecar.rerating import Rerater
from tests.support.accounts import MASTER, Accounts, with_key

JANUARY, FEBRUARY, MARCH = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3))
DOLLAR = 10**9  # nano-dollars, and the rate of a million tokens for one


def rater_of(accounts: Accounts) -> Callable[[], Awaitable[Rater]]:
    book = PriceBook()

    async def rater() -> Rater:
        async with accounts.read(SYSTEM) as work:
            await book.refresh(work.session)
        return BookRater(book)

    return rater


@pytest.fixture
async def rater(accounts: Accounts) -> Callable[[], Awaitable[Rater]]:
    await accounts.organization("acme")
    return rater_of(accounts)


async def report(accounts: Accounts, rater: Callable[[], Awaitable[Rater]], *days: datetime) -> None:
    knows = await rater()
    items = [
        NewUsage(organization="acme", provider="up", model="m", started_ns=nanoseconds(day), prompt_tokens=1_000_000)
        for day in days
    ]
    async with accounts.begin(MASTER) as work:
        await LedgerService(work, knows).record(items)


async def entries(accounts: Accounts) -> list[tuple[str, datetime, int | None]]:
    async with accounts.read(SYSTEM) as work:
        rows = await work.session.scalars(select(LedgerEntry).order_by(LedgerEntry.number))
        return [(row.kind, datetime.fromtimestamp(row.started_ns // 10**9, UTC), row.cost_nanos) for row in rows]


async def settled(accounts: Accounts, rater: Callable[[], Awaitable[Rater]]) -> int:
    accounts.clock.advance(SETTLED.total_seconds())
    return await catch_up(accounts.works, rater)


async def price(accounts: Accounts, actor: Any = MASTER, **more: Any) -> str:
    fields: dict[str, Any] = {"provider": "up", "model": "m", "rates": {"input": DOLLAR}} | more
    async with accounts.begin(actor) as work:
        return (await PriceService(work).create(NewPrice(**fields))).id


async def test_what_was_unpriced_is_priced(accounts: Accounts, rater: Callable[[], Awaitable[Rater]]) -> None:
    await report(accounts, rater, JANUARY, FEBRUARY)
    await price(accounts, effective_from=FEBRUARY)
    assert await catch_up(accounts.works, rater) == 0  # not settled yet
    assert await settled(accounts, rater) == 1
    found = await entries(accounts)
    assert [(day, cost) for kind, day, cost in found[:2]] == [(JANUARY, None), (FEBRUARY, None)]
    assert [(day, cost) for kind, day, cost in found if kind == "adjustment"] == [(FEBRUARY, DOLLAR)]
    assert await settled(accounts, rater) == 0
    assert await entries(accounts) == found


async def test_a_correction_replaces_what_was_rated(accounts: Accounts, rater: Callable[[], Awaitable[Rater]]) -> None:
    id = await price(accounts, effective_from=JANUARY)
    await report(accounts, rater, JANUARY, FEBRUARY, MARCH)
    assert await settled(accounts, rater) == 0
    async with accounts.begin(MASTER) as work:
        change = PriceChange(rates={"input": 3 * DOLLAR}, effective_from=FEBRUARY)
        await PriceService(work).new_version(id, change)
    assert await settled(accounts, rater) == 2
    found = await entries(accounts)
    total = {day: sum(cost or 0 for _, other, cost in found if other == day) for day in (JANUARY, FEBRUARY, MARCH)}
    assert total == {JANUARY: DOLLAR, FEBRUARY: 3 * DOLLAR, MARCH: 3 * DOLLAR}
    assert sorted(kind for kind, _, _ in found).count("reversal") == 2
    assert await settled(accounts, rater) == 0


async def test_an_organisations_late_price_is_of_its_own_reports(
    accounts: Accounts, rater: Callable[[], Awaitable[Rater]]
) -> None:
    await report(accounts, rater, FEBRUARY)
    await price(accounts, with_key("key_o", "acme", ("pricing:write",)), effective_from=JANUARY)
    assert await settled(accounts, rater) == 1


async def test_a_price_of_the_future_changes_nothing(accounts: Accounts, rater: Callable[[], Awaitable[Rater]]) -> None:
    await report(accounts, rater, FEBRUARY)
    await price(accounts, effective_from=datetime(2027, 1, 1, tzinfo=UTC))
    assert await settled(accounts, rater) == 0


async def test_a_sidecar_looks_for_late_prices_by_itself(
    accounts: Accounts, rater: Callable[[], Awaitable[Rater]]
) -> None:
    await report(accounts, rater, FEBRUARY)
    await price(accounts, effective_from=JANUARY)
    accounts.clock.advance(SETTLED.total_seconds())
    async with Rerater(accounts.works, rater, look=0.01), asyncio.timeout(40):
        while ("adjustment", FEBRUARY, DOLLAR) not in await entries(accounts):
            pass
    assert await catch_up(accounts.works, rater) == 0


async def test_what_is_left_when_it_stops_is_done_another_time(
    accounts: Accounts, rater: Callable[[], Awaitable[Rater]]
) -> None:
    await report(accounts, rater, FEBRUARY)
    await price(accounts, effective_from=JANUARY)
    accounts.clock.advance(SETTLED.total_seconds())
    answers = iter([False, True])
    assert await catch_up(accounts.works, rater, stopping=lambda: next(answers)) == 0
    assert await catch_up(accounts.works, rater) == 1
