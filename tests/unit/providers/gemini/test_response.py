"""Gemini's whole answers, embeddings and errors in the internal form."""

from __future__ import annotations

import base64
from struct import unpack
from typing import Any

import orjson
import pytest

from gateway.providers.base import Question, Upstream
from gateway.providers.gemini import Gemini
from gateway.providers.telling import Answer
from tests.unit.providers.gemini.judge import check_answer

MEMO = Answer("chatcmpl-1", 1_700_000_000, "gemini-2.5-flash")
USAGE = {
    "promptTokenCount": 10,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 7,
    "cachedContentTokenCount": 4,
    "totalTokenCount": 22,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}, {"modality": "AUDIO", "tokenCount": 3}],
}


def told(candidate: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = {"candidates": [candidate], "modelVersion": "gemini-2.5-flash-002", "responseId": "r1", **more}
    check_answer(answer)
    made: dict[str, Any] = Gemini().response(orjson.dumps(answer), MEMO)
    return made


def test_a_whole_answer() -> None:
    parts = [{"text": "Let me see.", "thought": True}, {"text": "It "}, {"text": "rains."}]

    assert told(
        {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}, usageMetadata=USAGE
    ) == {
        "id": "r1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gemini-2.5-flash-002",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "It rains.", "reasoning_content": "Let me see."},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 12,
            "total_tokens": 22,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 7},
        },
    }


def test_parallel_calls_with_a_signature() -> None:
    parts = [
        {"functionCall": {"name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "own", "name": "time"}},
    ]
    choice = told({"content": {"parts": parts}, "finishReason": "STOP"})["choices"][0]

    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    first, second = choice["message"]["tool_calls"]
    assert first.pop("id").startswith("call_")
    assert first == {
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }
    assert second == {"id": "own", "type": "function", "function": {"name": "time", "arguments": "{}"}}


def test_the_answer_can_be_sent_back_as_it_came() -> None:
    parts = [
        {"text": "Look."},
        {"functionCall": {"name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "c2ln"},
    ]
    message = told({"content": {"parts": parts}, "finishReason": "STOP"})["choices"][0]["message"]
    question = Question({"messages": [{"role": "user", "content": "?"}, message]}, Upstream("gemini-3-pro"))

    assert orjson.loads(Gemini().request(question).body)["contents"][1] == {"role": "model", "parts": parts}


def test_what_chat_can_not_say_is_kept_as_blocks() -> None:
    parts = [{"executableCode": {"language": "PYTHON", "code": "6*7"}}, {"text": "42"}]
    message = told({"content": {"parts": parts}, "finishReason": "STOP"})["choices"][0]["message"]

    assert message["content"] == "42"
    assert message["provider_blocks"] == {"vendor": "gemini", "blocks": parts}


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", {"finish_reason": "stop"}),
        ("MAX_TOKENS", {"finish_reason": "length"}),
        ("SAFETY", {"finish_reason": "content_filter", "native_finish_reason": "SAFETY"}),
        ("PROHIBITED_CONTENT", {"finish_reason": "content_filter", "native_finish_reason": "PROHIBITED_CONTENT"}),
        ("MALFORMED_FUNCTION_CALL", {"finish_reason": "stop", "native_finish_reason": "MALFORMED_FUNCTION_CALL"}),
    ],
)
def test_reasons_to_end(reason: str, finish: dict[str, str]) -> None:
    choice = told({"finishReason": reason})["choices"][0]

    assert choice == {"index": 0, "message": {"role": "assistant", "content": ""}, **finish}


def test_a_refused_prompt() -> None:
    body = orjson.dumps({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}})
    answer = Gemini().response(body, MEMO)

    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": ""},
            "finish_reason": "content_filter",
            "native_finish_reason": "SAFETY",
        }
    ]
    assert answer["usage"]["prompt_tokens"] == 4


def test_places_of_sources_are_told_in_characters() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://example.com", "title": "Example"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 7, "endIndex": 13, "text": "Köln"}, "groundingChunkIndices": [0, 5]}
        ],
    }
    candidate = {"content": {"parts": [{"text": "Grüß Köln."}]}, "groundingMetadata": grounding, "finishReason": "STOP"}

    message = told(candidate)["choices"][0]["message"]

    assert message["annotations"] == [
        {
            "type": "url_citation",
            "url_citation": {"start_index": 5, "end_index": 10, "url": "https://example.com", "title": "Example"},
        }
    ]


def test_sources_that_were_quoted() -> None:
    citation = {"startIndex": 0, "endIndex": 2, "uri": "https://example.com", "license": "mit"}
    candidate = {"content": {"parts": [{"text": "Hi"}]}, "citationMetadata": {"citationSources": [citation]}}

    message = told(candidate)["choices"][0]["message"]
    assert message["citations"] == [{"start_index": 0, "end_index": 2, "citation": citation}]
    cited = {"start_index": 0, "end_index": 2, "url": "https://example.com", "title": ""}
    assert message["annotations"] == [{"type": "url_citation", "url_citation": cited}]


def test_log_probabilities() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "logProbability": -0.1}],
        "topCandidates": [{"candidates": [{"token": "a", "logProbability": -2.5}]}],
    }
    candidate = {"content": {"parts": [{"text": "é"}]}, "logprobsResult": result, "finishReason": "STOP"}

    assert told(candidate)["choices"][0]["logprobs"]["content"] == [
        {
            "token": "é",
            "logprob": -0.1,
            "bytes": [195, 169],
            "top_logprobs": [{"token": "a", "logprob": -2.5, "bytes": [97]}],
        }
    ]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"candidates": [5]}', b'{"candidates": [{"content": {"parts": [5]}}]}', b"<html>"]
)
def test_no_answer_at_all(body: bytes) -> None:
    with pytest.raises(ValueError):
        Gemini().response(body, MEMO)


def _embed(kind: str, **chat: Any) -> tuple[str, dict[str, Any], Any]:
    question = Question({"model": "m", **chat}, Upstream("gemini-embedding-001"), "embeddings")
    call = Gemini(kind).request(question)
    return call.path, orjson.loads(call.body), call.memo


def test_embeddings_of_ai_studio() -> None:
    path, body, memo = _embed("gemini", input=["a", "b"], dimensions=2, encoding_format="base64")
    answer = Gemini().response(b'{"embeddings": [{"values": [0.5, 1.0]}, {"values": [2.0, 0.25]}]}', memo)

    assert path == "/models/gemini-embedding-001:batchEmbedContents"
    assert body["requests"][1] == {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "b"}]},
        "outputDimensionality": 2,
    }
    assert [unpack("<2f", base64.b64decode(item["embedding"])) for item in answer["data"]] == [(0.5, 1.0), (2.0, 0.25)]


def test_embeddings_of_vertex() -> None:
    path, body, memo = _embed("vertex", input="a", dimensions=2)
    one = {"embeddings": {"values": [0.5], "statistics": {"token_count": 3, "truncated": False}}}
    answer = Gemini("vertex").response(orjson.dumps({"predictions": [one]}), memo)

    assert path == "/models/gemini-embedding-001:predict"
    assert body == {"instances": [{"content": "a"}], "parameters": {"outputDimensionality": 2}}
    assert answer == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
        "model": "gemini-embedding-001",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }


@pytest.mark.parametrize(
    ("status", "told_", "expected", "code"),
    [
        (429, {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}, 429, "RESOURCE_EXHAUSTED"),
        (
            400,
            {
                "code": 400,
                "message": "Bad key.",
                "status": "INVALID_ARGUMENT",
                "details": [{"reason": "API_KEY_INVALID"}],
            },
            401,
            "API_KEY_INVALID",
        ),
        (503, {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}, 503, "UNAVAILABLE"),
    ],
)
def test_errors(status: int, told_: dict[str, Any], expected: int, code: str) -> None:
    for body in ({"error": told_}, [{"error": told_}]):
        found = Gemini().error(status, orjson.dumps(body))
        assert found.status == expected
        assert found.envelope["error"]["message"] == told_["message"]
        assert found.envelope["error"]["code"] == code


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b'{"message": "x"}', b"[]", b"5", b"\xff"])
def test_an_error_that_is_none_of_googles_is_quoted(body: bytes) -> None:
    found = Gemini().error(502, body)

    assert found.status == 502
    assert found.envelope["error"]["type"] == "upstream_error"
