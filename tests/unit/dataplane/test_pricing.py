"""Costs in whole nano-dollars."""

from __future__ import annotations

from datetime import UTC, date, datetime
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.prices import PriceFrom
from gateway.contract.usage import Tokens
from gateway.dataplane.pricing import FREE, Rate, Schedule, cost_of, holds, rate_of, rate_told, worst_case
from gateway.kernel.currency import DayRate, ExchangeRates
from gateway.kernel.rates import Hours
from gateway.settings.model import ExchangeRate, Price
from gateway.settings.pricing import PriceTier

COUNT = st.integers(0, 10**7)
RATE = st.builds(Rate, st.integers(0, 10**10), st.integers(0, 10**10), st.integers(0, 10**10))


def test_a_published_price_is_exact() -> None:
    price = Price(provider="p", model="m", input_per_1k=0.00015, output_per_1k=0.0006)
    assert rate_of(price) == Rate(150_000, 150_000, 600_000)
    cached = Price(provider="p", model="m", input_per_1k=0.00015, output_per_1k=0.0006, cached_input_per_1k=0.000075)
    assert rate_of(cached) == Rate(150_000, 75_000, 600_000)


def test_a_cost_is_the_sum_of_its_parts() -> None:
    rate = Rate(150_000, 75_000, 600_000)
    assert cost_of(rate, Tokens(prompt=1000, completion=1000)) == 750_000
    assert cost_of(rate, Tokens(prompt=1000, cached=400, completion=0)) == 600 * 150 + 400 * 75
    assert cost_of(rate, Tokens(prompt=10, completion=10, reasoning=10)) == 7_500
    assert cost_of(FREE, Tokens(prompt=10**9, completion=10**9)) == 0


@given(RATE, COUNT, COUNT, st.integers(0, 100))
def test_a_fraction_is_rounded_up_once(rate: Rate, prompt: int, completion: int, share: int) -> None:
    cached = prompt * share // 100
    cost = cost_of(rate, Tokens(prompt=prompt, cached=cached, completion=completion))
    assert cost is not None
    exact = Fraction((prompt - cached) * rate.input + cached * rate.cached_input + completion * rate.output, 1000)
    assert exact <= cost < exact + 1


@given(RATE, COUNT, COUNT, st.integers(0, 100), st.integers(0, 100))
def test_no_request_within_its_limits_costs_more_than_was_reserved(
    rate: Rate, prompt: int, completion: int, share: int, given_share: int
) -> None:
    tokens = Tokens(prompt=prompt, cached=prompt * share // 100, completion=completion * given_share // 100)
    cost, most = cost_of(rate, tokens), worst_case(rate, prompt, completion)
    assert cost is not None
    assert most is not None
    assert cost <= most


def test_every_kind_has_a_price_of_its_own_and_each_token_one() -> None:
    price = Price(
        provider="p",
        model="m",
        input_per_1k=0.003,
        output_per_1k=0.015,
        cached_input_per_1k=0.0003,
        cache_write_per_1k=0.00375,
        cache_write_1h_per_1k=0.006,
        reasoning_per_1k=0.02,
        output_audio_per_1k=0.08,
        per_request=0.005,
        per_image=0.04,
        per_audio_second=0.0001,
        tiers=(PriceTier(above_prompt_tokens=200_000, input_per_1k=0.006),),
    )
    rate = rate_of(price)
    tokens = Tokens(
        prompt=1_000, cached=300, cache_write=200, cache_write_1h=50, completion=100, reasoning=40,
        audio_completion=10, images=2, audio_seconds=9,
    )  # fmt: skip
    prompt = 500 * 3_000 + 300 * 300 + 150 * 3_750 + 50 * 6_000
    completion = 50 * 15_000 + 40 * 20_000 + 10 * 80_000
    assert cost_of(rate, tokens) == prompt + completion + 5_000_000 + 2 * 40_000_000 + 9 * 100_000
    large = Tokens(prompt=200_001, cached=1)
    assert cost_of(rate, large) == 200_000 * 6_000 + 300 + 5_000_000
    assert worst_case(rate, 1_000, 100) == 1_000 * 6_000 + 100 * 80_000 + 5_000_000 + 40_000_000 + 100_000


def test_a_price_in_another_currency_comes_to_dollars_by_the_day() -> None:
    price = Price(provider="p", model="m", currency="EUR", input_per_1k=1, output_per_1k=0)
    rates = [
        ExchangeRate(currency="EUR", day=day, dollars=dollars)
        for day, dollars in (("2035-01-01", 1.5), ("2035-01-03", 2))
    ]
    schedule = rate_of(price, exchange_rates=rates)
    assert isinstance(schedule, Schedule)
    at = datetime(2035, 1, 2, tzinfo=UTC).timestamp()
    assert schedule.cost(Tokens(prompt=1), at) == 1_500_000
    assert schedule.cost(Tokens(prompt=1), at + 86_400) == 2_000_000


def test_prices_with_a_day_hold_from_then_on() -> None:
    first = Price(provider="p", model="m", effective_from="2035-01-01", input_per_1k=1, output_per_1k=0)
    later = Price(provider="p", model="m", effective_from="2035-02-01", input_per_1k=2, output_per_1k=0)
    schedule = rate_of(later, first)
    assert isinstance(schedule, Schedule)
    starts = datetime(2035, 1, 1, tzinfo=UTC).timestamp()
    for at, cost in ((starts - 1, None), (starts, 1_000_000), (starts + 31 * 86_400, 2_000_000)):
        assert schedule.cost(Tokens(prompt=1), at) == cost
        assert schedule.worst_case(1, 0, at) == cost
    assert cost_of(schedule, Tokens(prompt=1)) is None
    assert worst_case(schedule, 1, 0) is None


def told(*versions: PriceFrom) -> Schedule:
    found = rate_told(versions, ExchangeRates(complete=True))
    assert isinstance(found, Schedule)
    return found


def test_a_plain_price_that_is_told_stays_plain() -> None:
    none = ExchangeRates(complete=True)
    rates = {"input": 150_000_000, "output": 600_000_000}
    assert rate_told([PriceFrom(0, "api", rates)], none) == Rate(150_000, 150_000, 600_000)
    assert rate_told([PriceFrom(0, "api", rates | {"cached_input": 0})], none) == Rate(150_000, 0, 600_000)
    assert rate_told([], none) is None
    # A rate of a thousand tokens could not tell this one.
    assert told(PriceFrom(0, "api", {"input": 1})).cost(Tokens(prompt=1_000_000), 1.0) == 1


def test_what_is_told_holds_from_its_time_and_an_end_is_an_end() -> None:
    begins = 2_000_000_000
    schedule = told(PriceFrom(0, "api", {"input": 10**9}), PriceFrom(begins * 10**9))
    assert schedule.cost(Tokens(prompt=1), begins - 1) == 1_000
    assert (schedule.cost(Tokens(prompt=1), begins), schedule.worst_case(1, 1, begins)) == (None, None)
    assert holds(told(PriceFrom(0), PriceFrom(begins * 10**9, "api", {"input": 1})), begins - 1) is False
    assert (holds(None, 0), holds(FREE, 0), holds(schedule, begins - 1)) == (False, True, True)


def test_hours_of_the_day_have_rates_of_their_own() -> None:
    night = Hours(23 * 3600, 5 * 3600, {"input": 10**9})
    schedule = told(PriceFrom(0, "default", {"input": 2 * 10**9}, hours=(night,)))
    midnight = datetime(2035, 1, 1, tzinfo=UTC).timestamp()
    costs = [schedule.cost(Tokens(prompt=1), midnight + hour * 3600) for hour in (0, 5, 22.999, 23)]
    assert costs == [1_000, 2_000, 2_000, 1_000]
    assert schedule.worst_case(1, 0, midnight) == 2_000, "of any hour: nobody knows when it ends"


def test_a_price_for_images_alone_tells_nothing_of_what_has_none() -> None:
    schedule = told(PriceFrom(0, "api", {"image": 4 * 10**13}))
    assert schedule.cost(Tokens(prompt=5), 1.0) is None
    assert schedule.cost(Tokens(prompt=5, images=2), 1.0) == 80_000_000


def test_what_is_told_in_another_currency_goes_by_the_rates_that_are_told() -> None:
    exchange = ExchangeRates([DayRate("EUR", date(2035, 1, 1), 1_500_000_000)], complete=True)
    schedule = rate_told([PriceFrom(0, "api", {"input": 10**9}, currency="EUR")], exchange)
    assert isinstance(schedule, Schedule)
    assert schedule.cost(Tokens(prompt=1), datetime(2035, 1, 2, tzinfo=UTC).timestamp()) == 1_500
    assert told(PriceFrom(0, "api", {"input": 10**9}, currency="GBP")).cost(Tokens(prompt=1), 1.0) is None
