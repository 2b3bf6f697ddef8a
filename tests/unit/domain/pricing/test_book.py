"""The price book: which price holds, and how it keeps up with the table."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.actor import SYSTEM
from gateway.domain.pricing import repo
from gateway.domain.pricing.book import PriceBook, moment, nanoseconds
from gateway.domain.pricing.currency import ExchangeRates
from gateway.domain.pricing.model import ExchangeRate
from gateway.domain.pricing.price import EPOCH, Price, Quantities, Source
from gateway.domain.pricing.requests import NewPrice, PriceChange
from gateway.domain.pricing.service import PriceService
from tests.support.accounts import MASTER, START, Accounts

JANUARY, FEBRUARY, MARCH = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3))
AT = nanoseconds(START)


def price(id: str, source: Source = "api", start: datetime = EPOCH, end: datetime | None = None, **more: Any) -> Price:
    fields: dict[str, Any] = {"provider": "openai", "model": "gpt-4o", "rates": {"input": 1}} | more
    return Price(id=id, source=source, effective_from=start, effective_to=end, **fields)


def book_of(*prices: Price) -> PriceBook:
    book = PriceBook()
    book.take(prices, ExchangeRates())
    return book


def found(book: PriceBook, at: datetime, organization: str | None = None) -> str | None:
    price = book.at("openai", "gpt-4o", nanoseconds(at), organization)
    return None if price is None else price.id


def test_the_api_comes_before_the_configuration_and_that_before_the_default() -> None:
    book = book_of(
        price("default", "default"),
        price("config", "config", JANUARY),
        price("api", "api", FEBRUARY, MARCH),
        price("own", "api", JANUARY, organization="acme"),
    )
    assert [found(book, at) for at in (EPOCH, JANUARY, FEBRUARY, MARCH)] == ["default", "config", "api", "config"]
    assert [found(book, at, "acme") for at in (EPOCH, JANUARY, FEBRUARY)] == ["default", "own", "own"]
    assert found(book, FEBRUARY, "other") == "api"


def test_a_version_that_was_overtaken_from_its_beginning_never_holds() -> None:
    book = book_of(price("wrong", "api", FEBRUARY, FEBRUARY), price("right", "api", JANUARY))
    assert found(book, FEBRUARY) == "right"


STARTS = st.lists(st.integers(1, 10**15), min_size=1, max_size=20, unique=True)


@given(starts=STARTS, at=st.integers(0, 10**15))
def test_the_last_version_that_has_begun_holds(starts: list[int], at: int) -> None:
    starts.sort()
    ends = [*starts[1:], None]
    versions = [
        price(str(start), "api", moment(start * 1_000), None if end is None else moment(end * 1_000), model="m")
        for start, end in zip(starts, ends, strict=True)
    ]
    held = book_of(*versions).at("openai", "m", at * 1_000)
    begun = [start for start in starts if start <= at]
    assert (held.id if held else None) == (str(begun[-1]) if begun else None)


@given(st.integers(0, 4 * 10**18))
def test_times_in_nanoseconds(at_ns: int) -> None:
    assert nanoseconds(moment(at_ns)) == at_ns // 1_000 * 1_000


def test_a_provider_is_known_by_its_address_or_by_its_name() -> None:
    book = PriceBook({"up": "https://api.openai.com/v1", "mine": "http://127.0.0.1:9/v1", "anthropic": None})
    named = book.at("up", "gpt-4o-2024-08-06", AT)
    assert named is not None
    assert (named.provider, named.model, named.source) == ("up", "gpt-4o-2024-08-06", "default")
    assert named.rates["input"] == 2_500_000_000
    assert book.at("anthropic", "claude-sonnet-4-5", AT) is not None
    assert book.at("mine", "gpt-4o", AT) is None
    assert book.at("openai", "no-such-model", AT) is None


def test_a_currency_without_a_rate_is_unpriced() -> None:
    book = PriceBook()
    assert book.rate(price("p", currency="XXX"), Quantities(prompt=1), AT) is None


async def test_it_keeps_up_with_the_table(accounts: Accounts) -> None:
    book = PriceBook()
    async with accounts.read(SYSTEM) as work:
        await book.refresh(work.session)
        assert not await book.refresh(work.session)
    async with accounts.begin(MASTER) as work:
        new = NewPrice(provider="up", model="m", rates={"input": 7}, effective_from=JANUARY)
        row = await PriceService(work).create(new)
    async with accounts.begin(MASTER) as work:
        await PriceService(work).new_version(row.id, PriceChange(rates={"input": 8}, effective_from=FEBRUARY))
    assert book.at("up", "m", AT) is None
    async with accounts.read(SYSTEM) as work:
        assert await book.refresh(work.session)
    held = [book.at("up", "m", nanoseconds(at)) for at in (JANUARY, FEBRUARY)]
    assert [each.rates["input"] for each in held if each] == [7, 8]


async def test_the_default_prices_that_were_used_are_stored(accounts: Accounts) -> None:
    book = PriceBook()
    used = book.at("openai", "o3", AT)
    assert used is not None
    for _ in range(2):
        async with accounts.begin(SYSTEM) as work:
            await book.keep(work.session, work.now)
    async with accounts.read(SYSTEM) as work:
        # Both versions of it, so that the table tells the whole of this price.
        stored = await repo.all_versions(work.session)
        assert len(stored) == 2
        assert await book.refresh(work.session)
    again = book.at("openai", "o3", AT)
    assert again is not None
    assert (again.id, again.rates) == (used.id, used.rates)
    assert again.number > 0
    assert book.at("openai", "o3", nanoseconds(datetime(2025, 1, 1, tzinfo=UTC))) is not None


async def test_the_default_prices_of_a_transaction_that_failed_are_stored_by_the_next(accounts: Accounts) -> None:
    book = PriceBook()
    assert book.at("openai", "o3", AT) is not None

    async def fail() -> None:
        async with accounts.begin(SYSTEM) as work:
            await book.keep(work.session, work.now)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with accounts.begin(SYSTEM) as work:
        await book.keep(work.session, work.now)
    async with accounts.read(SYSTEM) as work:
        assert len(await repo.all_versions(work.session)) == 2


async def test_own_exchange_rates(accounts: Accounts) -> None:
    async with accounts.begin(SYSTEM) as work:
        work.session.add(ExchangeRate(currency="EUR", day=date(2026, 3, 14), nanos_per_unit=2_000_000_000))
        await repo.bump(work.session)
    book = PriceBook()
    async with accounts.read(SYSTEM) as work:
        await book.refresh(work.session)
    rated = book.rate(price("p", currency="EUR", rates={"input": 10**9}), Quantities(prompt=1_000_000), AT)
    assert rated is not None
    assert (rated.cost_nanos, rated.fx_rate) == (2_000_000_000, 2_000_000_000)
