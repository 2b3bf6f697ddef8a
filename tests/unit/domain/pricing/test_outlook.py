"""What targets cost from now on: the same as the ledger will say, at every moment."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.prices import Priced, PriceFrom
from gateway.contract.usage import Tokens
from gateway.dataplane.pricing import Schedule, cost_of, holds, rate_told
from gateway.domain.pricing.book import PriceBook, nanoseconds
from gateway.domain.pricing.currency import DayRate, ExchangeRates
from gateway.domain.pricing.outlook import AHEAD, line_of, outlook
from gateway.domain.pricing.price import EPOCH, Price, Quantities, Source
from gateway.domain.pricing.requests import NewPrice
from gateway.domain.pricing.service import PriceService
from tests.support.accounts import MASTER, START, Accounts

TARGET = Priced("nobody", "m")
LISTED = Priced("openai", "gpt-4o-mini")
SOURCES: tuple[Source, ...] = ("api", "config", "default")


def price(source: Source, start: datetime, end: datetime | None = None, **more: Any) -> Price:
    fields: dict[str, Any] = {"provider": TARGET.provider, "model": TARGET.model, "rates": {"input": 10**9}} | more
    return Price(id=f"{source} {start}", source=source, effective_from=start, effective_to=end, **fields)


def book_of(*prices: Price, exchange: ExchangeRates | None = None) -> PriceBook:
    book = PriceBook()
    book.take(prices, exchange or ExchangeRates())
    return book


def days(count: int) -> datetime:
    return START + timedelta(days=count)


def test_every_source_in_its_turn() -> None:
    book = book_of(
        price("default", EPOCH, rates={"input": 3}),
        price("config", days(1), rates={"input": 2}),
        price("api", days(2), days(3), rates={"input": 1}),
        price("api", days(-9), days(-8), rates={"input": 9}),
        price("api", EPOCH, organization="acme", rates={"input": 8}),
    )
    assert line_of(book, TARGET, START) == [
        PriceFrom(0, "default", {"input": 3}),
        PriceFrom(nanoseconds(days(1)), "config", {"input": 2}),
        PriceFrom(nanoseconds(days(2)), "api", {"input": 1}),
        PriceFrom(nanoseconds(days(3)), "config", {"input": 2}),
    ]
    assert line_of(book, TARGET, days(5)) == [PriceFrom(0, "config", {"input": 2})]


def test_what_ends_has_no_price_and_what_nobody_knows_is_not_told() -> None:
    book = book_of(price("api", days(1), days(2)))
    begins, ends = nanoseconds(days(1)), nanoseconds(days(2))
    told = line_of(book, TARGET, START)
    assert told == [PriceFrom(0), PriceFrom(begins, "api", {"input": 10**9}), PriceFrom(ends)]
    assert line_of(book, TARGET, days(2)) == []


def test_only_so_far_ahead() -> None:
    versions = [price("api", days(day), days(day + 1), rates={"input": day}) for day in range(500)]
    told = line_of(book_of(*versions), TARGET, days(100))
    assert [version.rates["input"] for version in told] == list(range(100, 100 + AHEAD))


def test_the_list_is_asked_only_where_a_default_price_may_hold() -> None:
    elsewhere: dict[str, Any] = {"provider": LISTED.provider, "model": LISTED.model}
    covered = book_of(price("config", EPOCH, **elsewhere))
    assert [version.source for version in line_of(covered, LISTED, START)] == ["config"]
    assert covered.defaults._found == {}
    ending = book_of(price("api", EPOCH, days(1), **elsewhere))
    assert [version.source for version in line_of(ending, LISTED, START)] == ["api", "default"]
    assert ending._used == {}, "to tell a price is not to use it"


@st.composite
def books(draw: st.DrawFn) -> PriceBook:
    """Versions of each source that don't overlap, some of them open."""
    prices: list[Price] = []
    for source in SOURCES:
        starts = sorted(draw(st.sets(st.integers(-20, 40), max_size=6)))
        for start, following in zip(starts, [*starts[1:], None], strict=False):
            length = draw(st.integers(1, 30) | st.none())
            end = None if length is None else start + length
            if following is not None:
                end = following if end is None else min(end, following)
            rates = draw(st.dictionaries(st.sampled_from(("input", "output", "request")), st.integers(0, 10**12)))
            currency = draw(st.sampled_from(("USD", "EUR")))
            until = None if end is None else days(end)
            prices.append(price(source, days(start), until, rates=rates | {"input": start + 21}, currency=currency))
    rates_of_days = [DayRate("EUR", (START + timedelta(days=day)).date(), 10**9 + day) for day in (-30, 0, 3, 17)]
    return book_of(*prices, exchange=ExchangeRates(rates_of_days, complete=True))


@given(books(), st.integers(0, 60 * 24))
def test_the_data_plane_reckons_as_the_ledger_does(book: PriceBook, hours: int) -> None:
    at = START + timedelta(hours=hours)
    exchange = ExchangeRates(book.exchange.since("EUR", START.date()), complete=True)
    told = rate_told(line_of(book, TARGET, START), exchange)
    held = book.at(TARGET.provider, TARGET.model, nanoseconds(at))
    used = Quantities(prompt=1_234_567, completion=89)
    expected = None if held is None else book.rate(held, used, nanoseconds(at))
    tokens = Tokens(prompt=1_234_567, completion=89)
    assert holds(told, at.timestamp()) == (held is not None)
    if told is not None:
        cost = told.cost(tokens, at.timestamp()) if isinstance(told, Schedule) else cost_of(told, tokens)
        assert cost == (None if expected is None else expected.cost_nanos)


async def test_what_is_stored_and_what_the_list_says(accounts: Accounts) -> None:
    book = PriceBook()
    found = await outlook(accounts.works, book, [LISTED, TARGET])
    (default,), nothing = found.prices
    assert (default.source, default.rates["input"], nothing) == ("default", 150_000_000, [])
    rates = {"input": 5}
    new = NewPrice(provider=LISTED.provider, model=LISTED.model, rates=rates, tiers=(), currency="EUR")
    async with accounts.begin(MASTER) as work:
        await PriceService(work).create(new)
    found = await outlook(accounts.works, book, [TARGET, LISTED])
    assert found.prices == [[], [PriceFrom(0, "api", rates, currency="EUR")]]
    assert {rate.currency for rate in found.exchange} == {"EUR"}
    today = ExchangeRates(found.exchange, complete=True).at("EUR", START.date())
    assert today == ExchangeRates().at("EUR", START.date())


def test_exchange_rates_since_a_day() -> None:
    own = [DayRate("EUR", date(2035, 1, day), day) for day in (1, 3, 5)]
    exchange = ExchangeRates(own, complete=True)
    assert exchange.since("EUR", date(2035, 1, 4)) == own[1:]
    assert exchange.since("EUR", date(2030, 1, 1)) == own
    assert exchange.since("GBP", date(2035, 1, 4)) == []
    assert exchange.at("GBP", date(2035, 1, 4)) is None
