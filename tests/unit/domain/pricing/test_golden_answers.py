"""From the JSON a vendor answers with to the nano-dollars of its entry in the ledger.

The numbers were worked out by hand from the published prices that stand beside them, dollars for a million tokens.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
import pytest

from gateway.dataplane.usage import read_answer
from gateway.dataplane.vendors import vendor_of
from gateway.domain.ledger.ingest import row_of
from gateway.domain.ledger.rating import BookRater
from gateway.domain.pricing.book import PriceBook, nanoseconds
from gateway.domain.pricing.currency import ExchangeRates
from gateway.domain.pricing.price import EPOCH, Price
from tests.support.usage import MS, usage_event

AT = datetime(2025, 11, 17, 10, tzinfo=UTC)


class Golden(NamedTuple):
    """A provider's answer to a request, and what its parts cost."""

    base: str
    model: str
    usage: dict[str, Any]
    parts: dict[str, int]
    endpoint: str = "chat.completions"
    answer: dict[str, Any] | None = None


OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com/v1"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai"

GOLDEN = {
    # gpt-4o: $2.50, cached $1.25, output $10.
    "openai, cached": Golden(
        OPENAI,
        "gpt-4o-2024-08-06",
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        {"input": 86 * 2_500, "cached_input": 1_920 * 1_250, "output": 300 * 10_000},
    ),
    # o3: $2, cached $0.50, output $8; thoughts are among the completion tokens.
    "openai, cached and reasoning": Golden(
        OPENAI,
        "o3",
        {
            "prompt_tokens": 1000,
            "completion_tokens": 1186,
            "total_tokens": 2186,
            "prompt_tokens_details": {"cached_tokens": 896},
            "completion_tokens_details": {"reasoning_tokens": 1024},
        },
        {"input": 104 * 2_000, "cached_input": 896 * 500, "reasoning": 1_024 * 8_000, "output": 162 * 8_000},
    ),
    # Sonnet 4.5: $3, read $0.30, written $3.75, for an hour $6, output $15; none of the kept is in input_tokens.
    "anthropic, its cache read and written for five minutes and for an hour": Golden(
        ANTHROPIC,
        "claude-sonnet-4-5",
        {
            "input_tokens": 50,
            "cache_read_input_tokens": 10_000,
            "cache_creation_input_tokens": 1_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 400},
            "output_tokens": 503,
        },
        {
            "input": 50 * 3_000,
            "cached_input": 10_000 * 300,
            "cache_write": 600 * 3_750,
            "cache_write_1h": 400 * 6_000,
            "output": 503 * 15_000,
        },
    ),
    # Above 200,000 tokens in all: twice, and one and a half times for output.
    "anthropic, long context": Golden(
        ANTHROPIC,
        "claude-sonnet-4-5",
        {"input_tokens": 1, "cache_read_input_tokens": 200_000, "cache_creation_input_tokens": 0, "output_tokens": 10},
        {"input": 6_000, "cached_input": 200_000 * 600, "output": 10 * 22_500},
    ),
    # Gemini 2.5 Pro: $1.25 and $10 up to 200,000 prompt tokens; thoughts are told in the total alone.
    "gemini, thinking, up to 200k": Golden(
        GOOGLE,
        "gemini-2.5-pro",
        {"prompt_tokens": 200_000, "completion_tokens": 1_000, "total_tokens": 201_500},
        {"input": 200_000 * 1_250, "reasoning": 500 * 10_000, "output": 1_000 * 10_000},
    ),
    # $2.50 and $15 above, for all of it.
    "gemini, thinking, above 200k": Golden(
        GOOGLE,
        "gemini-2.5-pro",
        {"prompt_tokens": 200_001, "completion_tokens": 1_000, "total_tokens": 201_501},
        {"input": 200_001 * 2_500, "reasoning": 500 * 15_000, "output": 1_000 * 15_000},
    ),
    # Gemini 2.5 Flash: $0.30, sound $1, output $2.50.
    "gemini, sound": Golden(
        GOOGLE,
        "gemini-2.5-flash",
        {
            "prompt_tokens": 1_000,
            "completion_tokens": 10,
            "total_tokens": 1_010,
            "prompt_tokens_details": {"audio_tokens": 900},
        },
        {"input": 100 * 300, "input_audio": 900 * 1_000, "output": 10 * 2_500},
    ),
    # DeepSeek V3 by day (00:30 to 16:30 UTC): $0.27, cache hit $0.07, output $1.10.
    "deepseek, cache hit and miss": Golden(
        "https://api.deepseek.com",
        "deepseek-chat",
        {
            "prompt_tokens": 1_500,
            "completion_tokens": 300,
            "total_tokens": 1_800,
            "prompt_cache_hit_tokens": 1_024,
            "prompt_cache_miss_tokens": 476,
        },
        {"input": 476 * 270, "cached_input": 1_024 * 70, "output": 300 * 1_100},
    ),
    # Grok 4: $3, cached $0.75, output $15; thoughts are beside the completion and cost as much.
    "xai, reasoning beside": Golden(
        "https://api.x.ai/v1",
        "grok-4",
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "prompt_tokens_details": {"text_tokens": 32, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 6},
            "completion_tokens_details": {"reasoning_tokens": 94, "audio_tokens": 0},
        },
        {"input": 26 * 3_000, "cached_input": 6 * 750, "reasoning": 94 * 15_000, "output": 9 * 15_000},
    ),
    # Sonar Deep Research: $2, output $8, thoughts $3, which are beside the completion.
    "perplexity, reasoning at a price of its own": Golden(
        "https://api.perplexity.ai",
        "sonar-deep-research",
        {"prompt_tokens": 33, "completion_tokens": 7_163, "total_tokens": 7_196, "reasoning_tokens": 73_997},
        {"input": 33 * 2_000, "reasoning": 73_997 * 3_000, "output": 7_163 * 8_000},
    ),
    # Sonar: $1 each, and $12 for a thousand requests.
    "perplexity, per request": Golden(
        "https://api.perplexity.ai",
        "sonar",
        {"prompt_tokens": 14, "completion_tokens": 70, "total_tokens": 84},
        {"input": 14_000, "output": 70_000, "request": 12_000_000},
    ),
    # text-embedding-3-small: $0.02; 7 tokens are 140 nano-dollars.
    "openai, embeddings": Golden(
        OPENAI, "text-embedding-3-small", {"prompt_tokens": 7, "total_tokens": 7}, {"input": 140}, "embeddings"
    ),
    # gpt-4o-transcribe: text $2.50, sound $6, output $10.
    "openai, transcription by tokens": Golden(
        OPENAI,
        "gpt-4o-transcribe",
        {
            "type": "tokens",
            "input_tokens": 14,
            "input_token_details": {"text_tokens": 10, "audio_tokens": 4},
            "output_tokens": 101,
            "total_tokens": 115,
        },
        {"input": 10 * 2_500, "input_audio": 4 * 6_000, "output": 101 * 10_000},
        "audio.transcriptions",
    ),
    # Whisper: $0.006 a minute, by the second.
    "openai, transcription by time": Golden(
        OPENAI,
        "whisper-1",
        {"type": "duration", "seconds": 90},
        {"audio_second": 9_000_000},
        "audio.transcriptions",
    ),
    # gpt-image-1: text $5, pictures $10, output $40.
    "openai, pictures by tokens": Golden(
        OPENAI,
        "gpt-image-1",
        {
            "input_tokens": 333,
            "output_tokens": 1_056,
            "total_tokens": 1_389,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 323},
        },
        {"input": 10 * 5_000, "input_image": 323 * 10_000, "output_image": 1_056 * 40_000},
        "images.edits",
    ),
    # dall-e-3: $0.04 for each of 1024x1024 in standard quality, here as an operator prices it.
    "openai, pictures by number": Golden(
        OPENAI,
        "dall-e-3",
        {},
        {"image": 2 * 40_000_000},
        "images.generations",
        {"created": 1, "data": [{"url": "https://example.com/1"}, {"url": "https://example.com/2"}]},
    ),
}
OWN = Price(
    id="price_own", provider="up", model="dall-e-3", source="config", effective_from=EPOCH,
    rates={"image": 40_000_000 * 1_000_000},
)  # fmt: skip


def entry(
    base: str, model: str, endpoint: str, answer: dict[str, Any], book: PriceBook, at: datetime
) -> dict[str, Any]:
    """The ledger's row of a request that was answered so."""
    tokens, _ = read_answer(orjson.dumps(answer), vendor_of("up", base), endpoint)
    assert tokens is not None
    start = nanoseconds(at)
    event = usage_event(
        provider="up", target=model, endpoint=endpoint, tokens=tokens, started_ns=start, first_token_ns=None,
        ended_ns=start + MS,
    )  # fmt: skip
    return row_of(event, BookRater(book), 0)


@pytest.mark.parametrize("name", GOLDEN)
def test_what_is_entered_for_an_answer(name: str) -> None:
    golden = GOLDEN[name]
    book = PriceBook({"up": golden.base})
    book.take([OWN], ExchangeRates())
    answer = golden.answer or {"choices": [{}], "usage": golden.usage}
    row = entry(golden.base, golden.model, golden.endpoint, answer, book, AT)
    assert row["cost_parts"] == golden.parts
    assert row["cost_nanos"] == sum(golden.parts.values())
    assert (row["currency"], row["outcome"], row["estimated"]) == ("USD", "ok", False)


@pytest.mark.parametrize(
    ("currency", "at", "cost"),
    [
        # 1,000 tokens at 0.001 for a thousand; the European Central Bank's rates of the days.
        ("EUR", datetime(2025, 1, 2, 23, 59, tzinfo=UTC), 1_032_100),  # 1.0321
        ("EUR", datetime(2025, 1, 3, tzinfo=UTC), 1_029_900),  # 1.0299
        ("EUR", datetime(2025, 1, 5, 12, tzinfo=UTC), 1_029_900),  # a Sunday has Friday's
        # 1.0321 dollars and 162.04 yen a euro: 0.006369415 dollars a yen; 6.369415 rounded up.
        ("JPY", datetime(2025, 1, 2, tzinfo=UTC), 6_370),
    ],
)
def test_other_currencies_come_to_dollars_by_the_day(currency: str, at: datetime, cost: int) -> None:
    price = Price(
        id="price_1", provider="up", model="m", source="api", effective_from=EPOCH, currency=currency,
        rates={"input": 10**9},
    )  # fmt: skip
    book = PriceBook()
    book.take([price], ExchangeRates())
    row = entry(OPENAI, "m", "chat.completions", {"usage": {"prompt_tokens": 1_000}}, book, at)
    assert (row["cost_nanos"], row["currency"]) == (cost, currency)


@pytest.mark.parametrize(
    ("prompt", "completion", "parts"),
    [
        # 0.1 nano-dollars a token of the prompt, 0.25 of the completion: a fraction is rounded up once, on the sum.
        (1, 0, {"input": 1}),
        (10, 0, {"input": 1}),
        (11, 0, {"input": 2}),
        (1, 1, {"input": 1}),
        (5, 2, {"input": 1}),
        (5, 3, {"input": 1, "output": 1}),
    ],
)
def test_a_fraction_of_a_nano_dollar_is_rounded_up_once(prompt: int, completion: int, parts: dict[str, int]) -> None:
    price = Price(
        id="price_1", provider="up", model="m", source="api", effective_from=EPOCH,
        rates={"input": 100_000, "output": 250_000},
    )  # fmt: skip
    book = PriceBook()
    book.take([price], ExchangeRates())
    answer = {"usage": {"prompt_tokens": prompt, "completion_tokens": completion}}
    row = entry(OPENAI, "m", "chat.completions", answer, book, AT)
    assert row["cost_parts"] == parts
    assert row["cost_nanos"] == sum(parts.values())


def test_what_else_was_counted_is_kept_with_the_entry() -> None:
    golden = GOLDEN["anthropic, its cache read and written for five minutes and for an hour"]
    row = entry(ANTHROPIC, golden.model, golden.endpoint, {"usage": golden.usage}, PriceBook({"up": ANTHROPIC}), AT)
    assert (row["prompt_tokens"], row["cached_tokens"], row["cache_write_tokens"]) == (11_050, 10_000, 1_000)
    assert row["units"] == {"cache_write_1h": 400}
