"""What vendors charge for what they report, by their published prices: each kind of token, each rule of counting.

The usage is as the vendor's API reports it; what it costs was worked out by hand from the price named beside it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING
from typing import Any, NamedTuple

import pytest
from genai_prices import Usage
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.pricing.book import PriceBook, nanoseconds
from gateway.domain.pricing.defaults import Defaults
from gateway.domain.pricing.price import Quantities

AT = datetime(2025, 11, 16, 10, tzinfo=UTC)


class Golden(NamedTuple):
    """One answer of a vendor, and the nano-dollars of its parts."""

    provider: str
    flavor: str
    answer: dict[str, Any]
    parts: dict[str, int]


def gemini(prompt: int, cached: int = 0) -> dict[str, Any]:
    counts = {"promptTokenCount": prompt, "cachedContentTokenCount": cached}
    counts |= {"candidatesTokenCount": 1_000, "thoughtsTokenCount": 500, "totalTokenCount": prompt + 1_500}
    return {"modelVersion": "gemini-2.5-pro", "usageMetadata": counts}


def openai(model: str, prompt: int, cached: int, completion: int, reasoning: int) -> dict[str, Any]:
    return {
        "model": model,
        "usage": {
            "prompt_tokens": prompt,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens": completion,
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        },
    }


def anthropic(cache: dict[str, Any]) -> dict[str, Any]:
    return {"model": "claude-sonnet-4-5", "usage": {"input_tokens": 50, "output_tokens": 503} | cache}


GOLDEN = {
    # $2.50, cached $1.25, output $10; cached tokens are part of prompt_tokens.
    "openai cached tokens within the prompt": Golden(
        "openai",
        "chat",
        openai("gpt-4o-2024-08-06", 2_006, 1_920, 300, 0),
        {"input": 86 * 2_500, "cached_input": 1_920 * 1_250, "output": 300 * 10_000},
    ),
    # $2, cached $0.50, output $8; reasoning tokens are part of completion_tokens and cost as much.
    "openai reasoning within the completion": Golden(
        "openai",
        "chat",
        openai("o3", 100, 0, 1_186, 1_024),
        {"input": 100 * 2_000, "reasoning": 1_024 * 8_000, "output": 162 * 8_000},
    ),
    # The same in the Responses API.
    "openai responses": Golden(
        "openai",
        "responses",
        {
            "model": "o3",
            "usage": {
                "input_tokens": 100,
                "input_tokens_details": {"cached_tokens": 40},
                "output_tokens": 1_186,
                "output_tokens_details": {"reasoning_tokens": 1_024},
            },
        },
        {"input": 60 * 2_000, "cached_input": 40 * 500, "reasoning": 1_024 * 8_000, "output": 162 * 8_000},
    ),
    # $3, cache read $0.30, output $15; what was cached is not part of input_tokens.
    "anthropic cache read": Golden(
        "anthropic",
        "default",
        anthropic({"cache_read_input_tokens": 100_000, "cache_creation_input_tokens": 0}),
        {"input": 50 * 3_000, "cached_input": 100_000 * 300, "output": 503 * 15_000},
    ),
    # Writing to the cache costs a quarter more than input, for an hour twice as much.
    "anthropic cache write": Golden(
        "anthropic",
        "default",
        anthropic(
            {
                "cache_read_input_tokens": 10_000,
                "cache_creation_input_tokens": 1_000,
                "cache_creation": {"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 400},
            }
        ),
        {
            "input": 50 * 3_000,
            "cached_input": 10_000 * 300,
            "cache_write": 600 * 3_750,
            "cache_write_1h": 400 * 6_000,
            "output": 503 * 15_000,
        },
    ),
    # Above 200,000 tokens of context everything costs more, output too.
    "anthropic long context": Golden(
        "anthropic",
        "default",
        anthropic({"cache_read_input_tokens": 200_000}),
        {"input": 50 * 6_000, "cached_input": 200_000 * 600, "output": 503 * 22_500},
    ),
    # $1.25 and $10 up to 200,000 prompt tokens; thoughts come beside the candidates and cost as output.
    "gemini up to 200k": Golden(
        "google",
        "default",
        gemini(200_000),
        {"input": 200_000 * 1_250, "reasoning": 500 * 10_000, "output": 1_000 * 10_000},
    ),
    # $2.50 and $15 above, for every token of the request.
    "gemini above 200k": Golden(
        "google",
        "default",
        gemini(200_001),
        {"input": 200_001 * 2_500, "reasoning": 500 * 15_000, "output": 1_000 * 15_000},
    ),
    "gemini cached above 200k": Golden(
        "google",
        "default",
        gemini(250_000, cached=50_000),
        {"input": 200_000 * 2_500, "cached_input": 50_000 * 250, "reasoning": 500 * 15_000, "output": 1_000 * 15_000},
    ),
}


def quantities_of(usage: Usage) -> Quantities:
    """What a vendor's answer tells, which the list's own reader has added up."""
    told = usage.reported_value
    long = int(told("cache_write_1h_tokens"))
    return Quantities(
        prompt=int(told("input_tokens")),
        completion=int(told("output_tokens")),
        cached=int(told("cache_read_tokens")),
        cache_write=int(told("cache_write_tokens")) - long,
        cache_write_1h=long,
        reasoning=int(told("output_reasoning_tokens")),
    )


@pytest.mark.parametrize("name", GOLDEN)
def test_what_a_vendor_charges(name: str) -> None:
    golden = GOLDEN[name]
    usage = get_snapshot().extract_usage(golden.answer, golden.provider, None, golden.flavor).usage
    model = str(golden.answer.get("model") or golden.answer["modelVersion"])
    book = PriceBook()
    price = book.at(golden.provider, model, nanoseconds(AT))
    assert price is not None
    rated = book.rate(price, quantities_of(usage), nanoseconds(AT))
    assert rated is not None
    assert dict(rated.parts) == golden.parts
    assert rated.cost_nanos == sum(golden.parts.values())
    assert (rated.currency, rated.fx_rate, rated.price_id) == ("USD", 1_000_000_000, price.id)


def test_a_price_changes_on_its_day() -> None:
    # o3 became cheaper on 10 June 2025: from $10 and $40 to $2 and $8.
    book = PriceBook()
    costs = []
    for at in (datetime(2025, 6, 9, 23, 59, 59, tzinfo=UTC), datetime(2025, 6, 10, tzinfo=UTC)):
        price = book.at("openai", "o3", nanoseconds(at))
        assert price is not None
        rated = book.rate(price, Quantities(prompt=1_000, completion=1_000), nanoseconds(at))
        assert rated is not None
        costs.append(rated.cost_nanos)
    assert costs == [50_000_000, 10_000_000]


def test_a_request_costs_beside_its_tokens() -> None:
    # Sonar: $1 for input and output each, $12 for a thousand requests.
    book = PriceBook()
    price = book.at("perplexity", "sonar", nanoseconds(AT))
    assert price is not None
    rated = book.rate(price, Quantities(prompt=1_000, completion=500), nanoseconds(AT))
    assert rated is not None
    assert rated.parts == {"input": 1_000_000, "output": 500_000, "request": 12_000_000}


def test_sound_is_charged_by_the_second_and_unknown_without_them() -> None:
    # Whisper: $0.006 a minute.
    book = PriceBook()
    price = book.at("openai", "whisper-1", nanoseconds(AT))
    assert price is not None
    rated = book.rate(price, Quantities(audio_seconds=90), nanoseconds(AT))
    assert rated is not None
    assert rated.parts == {"audio_second": 9_000_000}
    assert book.rate(price, Quantities(prompt=10, completion=10), nanoseconds(AT)) is None


PRICES = sorted({(price.provider, price.model) for price in Defaults().all()})
COUNTS = st.integers(0, 400_000)


@given(
    pair=st.sampled_from(PRICES),
    counts=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
    seconds=st.integers(0, 2 * 365 * 86_400),
)
def test_every_default_price_comes_to_what_its_list_reckons(
    pair: tuple[str, str], counts: tuple[int, int, int, int, int], seconds: int
) -> None:
    fresh, cached, written, output, reasoning = counts
    at = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    prompt, completion = fresh + cached + written, output + reasoning
    usage = Usage(
        input_tokens=prompt,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=completion,
        output_reasoning_tokens=reasoning,
    )
    expected = get_snapshot().calc(usage, pair[1], pair[0], None, at).total_price
    book = PriceBook()
    price = book.at(*pair, nanoseconds(at))
    assert price is not None
    used = Quantities(prompt=prompt, completion=completion, cached=cached, cache_write=written, reasoning=reasoning)
    rated = book.rate(price, used, nanoseconds(at))
    if rated is None:
        assert price.rates.keys() <= {"image", "audio_second"}
    else:
        # Some prices of the list are a third or a float's neighbour: a rate is rounded to a nano-dollar for a million.
        assert abs(rated.cost_nanos - (expected * 10**9).to_integral_value(ROUND_CEILING)) <= 1
        assert sum(rated.parts.values()) == rated.cost_nanos
