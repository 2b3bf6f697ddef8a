"""Token counts as upstreams tell them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.usage import Tokens
from gateway.dataplane.usage import read_answer
from gateway.dataplane.usage_shapes import Usage
from gateway.dataplane.vendors import UNKNOWN, vendor_of, vocabulary_of

GROQ = {"queue_time": 0.1, "prompt_tokens": 23, "completion_tokens": 19, "total_tokens": 42}


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}, Tokens(prompt=5, completion=2)),
        ({"input_tokens": 5, "output_tokens": 2}, Tokens(prompt=5, completion=2)),
        ({"prompt_tokens": 8, "total_tokens": 8}, Tokens(prompt=8)),
        ({"total_tokens": 8, "completion_tokens": 3}, Tokens(prompt=5, completion=3)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}, Tokens(prompt=5, cached=4)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, Tokens(prompt=5, cached=5)),
        ({"prompt_tokens": 5, "prompt_tokens_details": None}, Tokens(prompt=5)),
        (
            {"prompt_tokens": 1, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 6}},
            Tokens(prompt=1, completion=9, reasoning=6),
        ),
        ({"prompt_tokens": 5.0, "completion_tokens": "2"}, Tokens(prompt=5, completion=2)),
        ({"prompt_tokens": -5, "completion_tokens": -2}, Tokens()),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": -3}}, Tokens(prompt=5)),
    ],
)
def test_usage(usage: dict[str, Any], tokens: Tokens) -> None:
    assert read_answer(orjson.dumps({"choices": [{}], "usage": usage})) == (tokens, True)


@pytest.mark.parametrize("answer", [{}, {"usage": None}, {"usage": 7}, {"usage": {"prompt_tokens": [1]}}, [], "text"])
def test_usage_of_another_shape_is_none(answer: Any) -> None:
    tokens, _ = read_answer(orjson.dumps(answer))
    assert tokens is None


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"usage":'])
def test_what_is_no_json_is_told(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_answer(body)


# What each of them really sends, numbers included.
_VENDORS: list[tuple[str, str, dict[str, Any], Tokens]] = [
    (
        "openai with sound",
        "https://api.openai.com/v1",
        {
            "prompt_tokens": 119,
            "completion_tokens": 94,
            "total_tokens": 213,
            "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 50},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 60,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        Tokens(prompt=119, cached=64, completion=94, audio_prompt=50, audio_completion=60),
    ),
    (
        "anthropic, whose input is without what its cache read and kept",
        "https://api.anthropic.com/v1",
        {
            "input_tokens": 2048,
            "cache_creation_input_tokens": 556,
            "cache_read_input_tokens": 1800,
            "cache_creation": {"ephemeral_5m_input_tokens": 456, "ephemeral_1h_input_tokens": 100},
            "output_tokens": 503,
        },
        Tokens(prompt=4404, cached=1800, completion=503, cache_write=556, cache_write_1h=100),
    ),
    (
        "litellm before anthropic, whose prompt is all of it",
        "http://litellm.internal:4000",
        {
            "prompt_tokens": 4404,
            "completion_tokens": 503,
            "total_tokens": 4907,
            "prompt_tokens_details": {"cached_tokens": 1800, "cache_creation_tokens": 556},
            "cache_creation_input_tokens": 556,
            "cache_read_input_tokens": 1800,
        },
        Tokens(prompt=4404, cached=1800, completion=503, cache_write=556),
    ),
    (
        "gemini, whose thoughts are only in the total",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        {"prompt_tokens": 20, "completion_tokens": 151, "total_tokens": 553},
        Tokens(prompt=20, completion=533, reasoning=382),
    ),
    (
        "vertex, which tells them beside the completion",
        "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/openapi",
        {
            "completion_tokens": 1118,
            "completion_tokens_details": {"reasoning_tokens": 1017},
            "extra_properties": {"google": {"traffic_type": "ON_DEMAND"}},
            "prompt_tokens": 8,
            "total_tokens": 2143,
        },
        Tokens(prompt=8, completion=2135, reasoning=1017),
    ),
    (
        "xai, which counts thoughts beside the completion",
        "https://api.x.ai/v1",
        {
            "prompt_tokens": 10120,
            "completion_tokens": 1499,
            "total_tokens": 14428,
            "prompt_tokens_details": {"text_tokens": 10120, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 128},
            "completion_tokens_details": {"reasoning_tokens": 2809, "audio_tokens": 0},
        },
        Tokens(prompt=10120, cached=128, completion=4308, reasoning=2809),
    ),
    (
        "perplexity, whose total is without them too",
        "https://api.perplexity.ai",
        {
            "prompt_tokens": 33,
            "completion_tokens": 7163,
            "total_tokens": 7196,
            "citation_tokens": 20016,
            "num_search_queries": 18,
            "reasoning_tokens": 73997,
        },
        Tokens(prompt=33, completion=81160, reasoning=73997),
    ),
    (
        "deepseek",
        "https://api.deepseek.com",
        {
            "prompt_tokens": 1500,
            "completion_tokens": 300,
            "total_tokens": 1800,
            "prompt_cache_hit_tokens": 1024,
            "prompt_cache_miss_tokens": 476,
            "completion_tokens_details": {"reasoning_tokens": 210},
        },
        Tokens(prompt=1500, cached=1024, completion=300, reasoning=210),
    ),
    (
        "mistral, where a number may be an empty object",
        "https://api.mistral.ai/v1",
        {"prompt_tokens": 16, "completion_tokens": 34, "total_tokens": 50, "prompt_audio_seconds": {}},
        Tokens(prompt=16, completion=34),
    ),
    (
        "mistral of speech",
        "https://api.mistral.ai/v1",
        {"prompt_audio_seconds": 203, "prompt_tokens": 4, "total_tokens": 3264, "completion_tokens": 635},
        Tokens(prompt=4, completion=635, audio_seconds=203),
    ),
    (
        "cohere, by what it bills",
        "https://api.cohere.com/v2",
        {
            "billed_units": {"input_tokens": 11, "output_tokens": 5},
            "tokens": {"input_tokens": 218, "output_tokens": 7},
        },
        Tokens(prompt=11, completion=5),
    ),
    (
        "moonshot and together",
        "https://api.moonshot.ai/v1",
        {"prompt_tokens": 19, "completion_tokens": 21, "total_tokens": 40, "cached_tokens": 10},
        Tokens(prompt=19, cached=10, completion=21),
    ),
    (
        "qwen",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        {
            "prompt_tokens": 2000,
            "completion_tokens": 40,
            "total_tokens": 2040,
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "cache_creation_input_tokens": 1900,
                "cache_creation": {"ephemeral_5m_input_tokens": 1900},
                "cache_type": "ephemeral",
            },
        },
        Tokens(prompt=2000, completion=40, cache_write=1900),
    ),
    (
        "openrouter",
        "https://openrouter.ai/api/v1",
        {
            "prompt_tokens": 194,
            "completion_tokens": 12,
            "total_tokens": 206,
            "cost": 0.00095,
            "cost_details": {"upstream_inference_cost": None},
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 100, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 2, "image_tokens": 8},
        },
        Tokens(prompt=194, completion=12, reasoning=2, cache_write=100, image_completion=8),
    ),
    (
        "groq, with times beside its numbers",
        "https://api.groq.com/openai/v1",
        {
            "queue_time": 0.07535312,
            "prompt_tokens": 23,
            "prompt_time": 0.006,
            "completion_tokens": 19,
            "completion_time": 0.022,
            "total_tokens": 42,
            "total_time": 0.028,
            "prompt_tokens_details": {"cached_tokens": 16},
        },
        Tokens(prompt=23, cached=16, completion=19),
    ),
]


@pytest.mark.parametrize(("base", "usage", "tokens"), [case[1:] for case in _VENDORS], ids=[c[0] for c in _VENDORS])
def test_what_vendors_tell(base: str, usage: dict[str, Any], tokens: Tokens) -> None:
    vendor = vendor_of("up", base)
    assert read_answer(orjson.dumps({"choices": [{}], "usage": usage}), vendor, "chat.completions") == (tokens, True)


@pytest.mark.parametrize(
    ("endpoint", "answer", "tokens"),
    [
        ("chat.completions", {"choices": [{"delta": {}}], "x_groq": {"id": "req_1", "usage": GROQ}}, Tokens(23, 0, 19)),
        ("chat.completions", {"choices": [{"delta": {}, "usage": GROQ}]}, Tokens(23, 0, 19)),
        ("rerank", {"results": [], "meta": {"billed_units": {"search_units": 1}}}, None),
        ("embeddings", {"meta": {"billed_units": {"input_tokens": 9}}}, Tokens(prompt=9)),
        ("images.generations", {"created": 1, "data": [{"url": "a"}, {"url": "b"}]}, Tokens(images=2)),
        (
            "images.generations",
            {
                "data": [{"b64_json": ""}],
                "usage": {
                    "total_tokens": 4260,
                    "input_tokens": 100,
                    "output_tokens": 4160,
                    "input_tokens_details": {"text_tokens": 10, "image_tokens": 90},
                },
            },
            Tokens(prompt=100, completion=4160, image_prompt=90, image_completion=4160),
        ),
        ("audio.transcriptions", {"text": "", "usage": {"type": "duration", "seconds": 3.4}}, Tokens(audio_seconds=3)),
        ("audio.transcriptions", {"text": "", "duration": 8.5}, Tokens(audio_seconds=9)),
        (
            "audio.transcriptions",
            {
                "text": "",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 14,
                    "input_token_details": {"text_tokens": 10, "audio_tokens": 4},
                    "output_tokens": 101,
                    "total_tokens": 115,
                },
            },
            Tokens(prompt=14, completion=101, audio_prompt=4),
        ),
        (
            "audio.speech",
            {"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}},
            Tokens(prompt=14, completion=101, audio_completion=101),
        ),
    ],
)
def test_what_is_told_elsewhere(endpoint: str, answer: dict[str, Any], tokens: Tokens | None) -> None:
    assert read_answer(orjson.dumps(answer), endpoint=endpoint)[0] == tokens


@pytest.mark.parametrize(
    ("name", "base", "vendor"),
    [
        ("up", "https://api.x.ai/v1", "xai"),
        ("up", "https://mine.openai.azure.com/openai/v1", "azure"),
        ("up", "https://europe-west1-aiplatform.googleapis.com/v1", "google"),
        ("up", "https://api.x.ai.example.com/v1", ""),
        ("Anthropic", "http://127.0.0.1:4000", "anthropic"),
        ("anthropic", "https://api.openai.com/v1", "openai"),
        ("mine", None, ""),
    ],
)
def test_vendors_are_found_by_host_then_by_name(name: str, base: str | None, vendor: str) -> None:
    assert vendor_of(name, base).name == vendor


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("Qwen/Qwen3-32B", "qwen3.5"),
        ("claude-sonnet-4-5", "o200k_base"),
    ],
)
def test_vocabularies_are_found_by_model(model: str, vocabulary: str) -> None:
    assert vocabulary_of(UNKNOWN, model) == vocabulary


counts: st.SearchStrategy[Any] = st.none() | st.integers() | st.floats() | st.text() | st.just({}) | st.booleans()


@given(st.dictionaries(st.sampled_from(Usage.__struct_fields__), counts | st.dictionaries(st.text(), counts)))
def test_whatever_is_told_no_part_exceeds_its_whole(usage: dict[str, Any]) -> None:
    found = read_answer(json.dumps({"usage": usage}).encode())[0] if _is_json(usage) else None
    if found is None:
        return
    assert 0 <= found.cached <= found.prompt
    assert 0 <= found.cache_write_1h <= found.cache_write <= found.prompt
    assert 0 <= found.reasoning <= found.completion
    assert 0 <= found.audio_prompt <= found.prompt
    assert 0 <= found.audio_completion <= found.completion


def _is_json(value: dict[str, Any]) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
