"""Costs in whole nano-dollars."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.usage import Tokens
from gateway.dataplane.pricing import FREE, Rate, cost_of, rate_of, worst_case
from gateway.settings.model import Price

COUNT = st.integers(0, 10**7)
RATE = st.builds(Rate, st.integers(0, 10**10), st.integers(0, 10**10), st.integers(0, 10**10))


def test_a_published_price_is_exact() -> None:
    price = Price(provider="p", model="m", input_per_1k=0.00015, output_per_1k=0.0006)
    assert rate_of(price) == Rate(150_000, 150_000, 600_000)
    cached = Price(provider="p", model="m", input_per_1k=0.00015, output_per_1k=0.0006, cached_input_per_1k=0.000075)
    assert rate_of(cached).cached_input == 75_000


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
    exact = Fraction((prompt - cached) * rate.input + cached * rate.cached_input + completion * rate.output, 1000)
    assert exact <= cost < exact + 1


@given(RATE, COUNT, COUNT, st.integers(0, 100), st.integers(0, 100))
def test_no_request_within_its_limits_costs_more_than_was_reserved(
    rate: Rate, prompt: int, completion: int, share: int, given_share: int
) -> None:
    tokens = Tokens(prompt=prompt, cached=prompt * share // 100, completion=completion * given_share // 100)
    assert cost_of(rate, tokens) <= worst_case(rate, prompt, completion)
