"""Rating: whole nano-dollars, every token once, parts that add up."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.pricing.price import EPOCH, KINDS, NANOS, UNITS, Hours, Price, Quantities, Tier
from gateway.domain.pricing.rating import counts_of, rate, rate_for, rates_of

AT = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
TOKENS = st.integers(-5, 10**7)


def price(rates: dict[str, int], **more: Any) -> Price:
    return Price(id="price_1", provider="p", model="m", source="api", effective_from=EPOCH, rates=rates, **more)


RATES = st.dictionaries(st.sampled_from(KINDS), st.integers(0, 10**12), max_size=len(KINDS))
USED = st.builds(
    Quantities,
    prompt=TOKENS,
    completion=TOKENS,
    cached=TOKENS,
    cache_write=TOKENS,
    cache_write_1h=TOKENS,
    reasoning=TOKENS,
    audio_prompt=TOKENS,
    audio_completion=TOKENS,
    images=st.integers(0, 10),
    audio_seconds=st.integers(0, 10_000),
)


@given(rates=RATES, used=USED, fx=st.integers(1, 10 * NANOS))
def test_parts_add_up_to_the_cost_which_is_rounded_up_once(rates: dict[str, int], used: Quantities, fx: int) -> None:
    rated = rate(price(rates), used, AT, fx)
    assert sum(rated.parts.values()) == rated.cost_nanos
    exact = {kind: Fraction(n * rate_for(rates, kind) * fx, UNITS * NANOS) for kind, n in counts_of(used).items()}
    assert 0 <= rated.cost_nanos - sum(exact.values()) < 1
    for kind, part in rated.parts.items():
        assert abs(part - exact[kind]) < 1


@given(used=USED)
def test_every_token_is_counted_once(used: Quantities) -> None:
    counts = counts_of(used)
    prompt = ("input", "cached_input", "cache_write", "cache_write_1h", "input_audio")
    completion = ("output", "reasoning", "output_audio")
    assert sum(counts.get(kind, 0) for kind in prompt) == max(0, used.prompt)
    assert sum(counts.get(kind, 0) for kind in completion) == max(0, used.completion)


@pytest.mark.parametrize(
    ("kind", "rates", "expected"),
    [
        ("cached_input", {"input": 7}, 7),
        ("cached_input", {"input": 7, "cached_input": 0}, 0),
        ("cache_write_1h", {"input": 7}, 7),
        ("cache_write_1h", {"input": 7, "cache_write": 9}, 9),
        ("reasoning", {"output": 5}, 5),
        ("reasoning", {"output": 5, "reasoning": 3}, 3),
        ("output_audio", {"output": 5}, 5),
        ("request", {"input": 7}, 0),
    ],
)
def test_what_stands_in_for_a_rate_that_is_not_told(kind: str, rates: dict[str, int], expected: int) -> None:
    assert rate_for(rates, kind) == expected


def test_a_fraction_of_a_nano_dollar_is_rounded_up() -> None:
    rated = rate(price({"input": 1, "output": 1}), Quantities(prompt=1, completion=1), AT, NANOS)
    assert (rated.cost_nanos, rated.parts) == (1, {"input": 1})


def test_tiers_hold_for_the_whole_request() -> None:
    tiered = price({"input": 1}, tiers=(Tier(100, {"input": 2}), Tier(200, {"input": 3})))
    assert [rates_of(tiered, prompt, AT)["input"] for prompt in (0, 100, 101, 200, 201)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize(("hour", "expected"), [(0, 2), (1, 1), (15, 1), (16, 1), (17, 2), (23, 2)])
def test_hours_may_pass_midnight(hour: int, expected: int) -> None:
    cheap = price({"input": 1}, hours=(Hours(17 * 3600, 3600, {"input": 2}),))
    assert rates_of(cheap, 1, AT.replace(hour=hour, minute=0, second=0))["input"] == expected


def test_a_price_in_another_currency_costs_dollars() -> None:
    # 2 EUR for a million, at 1.25 dollars
    rated = rate(price({"input": 2 * NANOS}, currency="EUR"), Quantities(prompt=1_000_000), AT, 1_250_000_000)
    assert (rated.cost_nanos, rated.currency, rated.fx_rate) == (2_500_000_000, "EUR", 1_250_000_000)
