"""Cohere's chat, embeddings and rerank, by the examples of its API reference."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.errors import GatewayError
from gateway.protocols.messages import MESSAGES
from gateway.providers.base import Call, Question, Upstream
from gateway.providers.cohere import Cohere
from gateway.providers.telling import Answer

HELLO = [{"role": "user", "content": "Hi"}]
MEMO = Answer("chatcmpl-1", 1_700_000_000, "command-a-03-2025")
USAGE = {
    "billed_units": {"input_tokens": 5, "output_tokens": 4},
    "tokens": {"input_tokens": 71, "output_tokens": 4},
    "cached_tokens": 64,
}


def asked(endpoint: str = "chat.completions", **chat: Any) -> Call:
    if endpoint == "chat.completions":
        chat.setdefault("messages", HELLO)
    target = Upstream("command-a-03-2025", api_key="k")
    return Cohere().request(Question({"model": "m", **chat}, target, endpoint, 1.0))


def body(**chat: Any) -> dict[str, Any]:
    call = asked(**chat)
    assert call.dropped == ()
    made: dict[str, Any] = orjson.loads(call.body)
    return made


def test_a_plain_question() -> None:
    call = asked(messages=[{"role": "developer", "content": "Be brief."}, *HELLO], stream=True, max_tokens=9)

    assert (call.path, call.headers) == ("/chat", (("authorization", "Bearer k"),))
    assert orjson.loads(call.body) == {
        "model": "command-a-03-2025",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "stream": True,
        "max_tokens": 9,
    }


def test_every_parameter_with_a_place_of_its_own() -> None:
    made = body(
        temperature=0.3,
        top_p=0.9,
        top_k=5,
        seed=0,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        stop="END",
        logprobs=True,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        reasoning_effort="low",
        provider_options={"cohere": {"safety_mode": "STRICT", "citation_options": {"mode": "FAST"}}},
    )

    assert {name: made[name] for name in made if name not in ("model", "messages")} == {
        "temperature": 0.3,
        "p": 0.9,
        "k": 5,
        "seed": 0,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "stop_sequences": ["END"],
        "logprobs": True,
        "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
        "thinking": {"type": "enabled", "token_budget": 2048},
        "safety_mode": "STRICT",
        "citation_options": {"mode": "FAST"},
    }


@pytest.mark.parametrize(
    ("told", "thinking"),
    [
        ({"reasoning_effort": "none"}, {"type": "disabled"}),
        ({"thinking": {"type": "disabled"}}, {"type": "disabled"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 500}}, {"type": "enabled", "token_budget": 500}),
    ],
)
def test_thinking(told: dict[str, Any], thinking: dict[str, Any]) -> None:
    assert body(**told)["thinking"] == thinking


TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "W.", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "time", "strict": True}},
]
CALL = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}


def test_calls_their_plan_and_their_answers() -> None:
    turns = [
        *HELLO,
        {"role": "assistant", "content": None, "reasoning_content": "I will look.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "20"}]},
        {"role": "tool", "tool_call_id": "b", "content": "broke", "is_error": True},
        {"role": "assistant", "content": "20.", "reasoning_content": "Warm."},
    ]

    assert body(messages=turns, tools=TOOLS)["messages"][1:] == [
        {"role": "assistant", "tool_calls": [CALL], "tool_plan": "I will look."},
        {"role": "tool", "tool_call_id": "a", "content": "20"},
        {"role": "tool", "tool_call_id": "b", "content": "Error: broke"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Warm."}, {"type": "text", "text": "20."}],
        },
    ]


@pytest.mark.parametrize(
    ("choice", "names", "told"),
    [
        ("auto", ["weather", "time"], None),
        ("none", ["weather", "time"], "NONE"),
        ("required", ["weather", "time"], "REQUIRED"),
        ({"type": "function", "function": {"name": "time"}}, ["time"], "REQUIRED"),
    ],
)
def test_tool_choice(choice: Any, names: list[str], told: str | None) -> None:
    made = body(tools=TOOLS, tool_choice=choice)

    assert [tool["function"]["name"] for tool in made["tools"]] == names
    assert made.get("tool_choice") == told
    assert made["strict_tools"] is True


def test_search_results_and_texts_become_documents() -> None:
    content = [
        {"type": "text", "text": "Why?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "search_result", "source": "https://x.y", "title": "T", "content": [{"type": "text", "text": "c"}]},
        {"type": "file", "file": {"text": "plain", "filename": "a.txt"}},
    ]
    made = body(messages=[{"role": "user", "content": content}])

    assert made["messages"][0]["content"] == [
        {"type": "text", "text": "Why?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    assert made["documents"] == [
        {"data": {"title": "T", "url": "https://x.y", "text": "c"}},
        {"data": {"title": "a.txt", "text": "plain"}},
    ]


def test_what_cohere_has_no_word_for_is_named() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
    call = asked(
        messages=[{"role": "user", "content": [audio]}],
        n=2,
        top_logprobs=3,
        logit_bias={"1": 1},
        parallel_tool_calls=False,
        tools=[{"type": "web_search"}],
        provider_options={"cohere": {"x": 1}, "gemini": {}},
    )

    assert set(call.dropped) == {
        "n",
        "top_logprobs",
        "logit_bias",
        "parallel_tool_calls",
        "messages.content.input_audio",
        "tools.web_search",
        "provider_options.cohere.x",
        "provider_options.gemini",
    }


def test_a_whole_answer() -> None:
    page = {"type": "document", "id": "d1", "document": {"url": "https://x.y", "title": "T", "snippet": "…"}}
    tool = {"type": "tool", "id": "a:0", "tool_output": {"degrees": "20"}}
    citations: list[dict[str, Any]] = [
        {
            "start": 6,
            "end": 8,
            "text": "20",
            "sources": [tool, page],
            "content_index": 1,
            "type": "TEXT_CONTENT",
        },
        {"start": 0, "end": 2, "text": "It", "sources": [tool], "content_index": 1},
    ]
    answer = {
        "id": "c1",
        "finish_reason": "COMPLETE",
        "message": {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "It is 20."}],
            "citations": citations,
        },
        "usage": USAGE,
        "logprobs": [{"text": "It", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}],
    }
    told = Cohere().response(orjson.dumps(answer), MEMO)

    assert told["id"] == "c1"
    assert told["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "It is 20.",
                "reasoning_content": "Hm.",
                "citations": [
                    {"start_index": start, "end_index": end, "citation": citation}
                    for start, end, citation in zip((6, 0), (8, 2), citations, strict=True)
                ],
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {"start_index": 6, "end_index": 8, "url": "https://x.y", "title": "T"},
                    }
                ],
            },
            "finish_reason": "stop",
            "logprobs": {
                "content": [{"token": "It", "logprob": -0.75, "bytes": [73, 116], "top_logprobs": []}],
                "refusal": None,
            },
        }
    ]
    assert told["usage"] == {
        "prompt_tokens": 71,
        "completion_tokens": 4,
        "total_tokens": 75,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def test_calls_go_back_as_they_came() -> None:
    said = {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [CALL]}
    answer = {"id": "c1", "finish_reason": "TOOL_CALL", "message": said}
    choice = Cohere().response(orjson.dumps(answer), MEMO)["choices"][0]

    assert choice["finish_reason"] == "tool_calls"
    assert body(messages=[*HELLO, choice["message"]])["messages"][1] == said


@pytest.mark.parametrize(
    ("reason", "finish", "native"),
    [("MAX_TOKENS", "length", None), ("STOP_SEQUENCE", "stop", "STOP_SEQUENCE"), ("TIMEOUT", "stop", "TIMEOUT")],
)
def test_reasons_to_end(reason: str, finish: str, native: str | None) -> None:
    answer = {"message": {"content": [{"type": "text", "text": "x"}]}, "finish_reason": reason}
    choice = Cohere().response(orjson.dumps(answer), MEMO)["choices"][0]

    assert (choice["finish_reason"], choice.get("native_finish_reason")) == (finish, native)


EVENTS: list[dict[str, Any]] = [
    {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant", "content": []}}},
    {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will"}}},
    {
        "type": "tool-call-start",
        "index": 0,
        "delta": {
            "message": {"tool_calls": {"id": "a", "type": "function", "function": {"name": "weather", "arguments": ""}}}
        },
    },
    {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}}},
    {"type": "tool-call-end", "index": 0},
    {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "thinking", "thinking": "Hm"}}}},
    {"type": "content-end", "index": 0},
    {"type": "content-start", "index": 1, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
    {
        "type": "content-delta",
        "index": 1,
        "delta": {"message": {"content": {"text": "Grüß"}}},
        "logprobs": {"text": "Grüß", "token_ids": [1], "logprobs": [-0.5]},
    },
    {
        "type": "citation-start",
        "index": 0,
        "delta": {"message": {"citations": {"start": 0, "end": 4, "text": "Grüß", "sources": [], "content_index": 1}}},
    },
    {"type": "citation-end", "index": 0},
    {"type": "content-end", "index": 1},
    {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": USAGE}},
]


def _events(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (each["type"].encode(), orjson.dumps(each)) for each in events)


def read(data: bytes, cuts: list[int] | None = None) -> tuple[list[dict[str, Any]], bool]:
    cohere = Cohere()
    frames, stream = cohere.frames(), cohere.stream(MEMO)
    found: list[dict[str, Any]] = []
    places = [0, *sorted(cuts or []), len(data)]
    for index in range(len(places) - 1):
        for event in frames.feed(data[places[index] : places[index + 1]]):
            found += stream.feed(event)
    return found + stream.end(), stream.done


def test_event_by_event() -> None:
    chunks, done = read(_events(*EVENTS) + b"data: [DONE]\n\n")

    assert done
    assert {(chunk["id"], chunk["model"]) for chunk in chunks} == {("c1", "command-a-03-2025")}
    assert [choice["delta"] for chunk in chunks for choice in chunk["choices"]] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "I will"},
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {"reasoning_content": "Hm"},
        {"content": "Grüß"},
        {"citations": [{"start_index": 0, "end_index": 4, "citation": EVENTS[9]["delta"]["message"]["citations"]}]},
        {},
    ]
    assert chunks[5]["choices"][0]["logprobs"]["content"][0]["token"] == "Grüß"
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"]["prompt_tokens"] == 71


def test_citations_are_not_told_as_another_vendors() -> None:
    encoder = MESSAGES.stream(None)
    events = b"".join(encoder.feed(chunk) for chunk in read(_events(*EVENTS))[0]) + encoder.end()

    assert "Grüß".encode() in events
    assert b"citation" not in events


def test_every_border() -> None:
    data = _events(*EVENTS)
    whole = read(data)

    assert all(read(data, [cut]) == whole for cut in range(len(data)))


@given(cuts=st.lists(st.integers(0, len(_events(*EVENTS))), max_size=10))
def test_any_split_gives_the_same_chunks(cuts: list[int]) -> None:
    assert read(_events(*EVENTS), cuts) == read(_events(*EVENTS))


def test_a_stream_that_breaks_off_is_not_done() -> None:
    assert not any(read(_events(*EVENTS[:kept]))[1] for kept in range(len(EVENTS)))


def test_a_stream_that_fails() -> None:
    chunks, done = read(_events({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "Broke."}}))

    assert not done
    assert (chunks[0]["error"]["message"], chunks[0]["error"]["code"]) == ("Broke.", 502)


def test_an_event_that_is_none() -> None:
    for data in (b"data: 5\n\n", b'data: {"type": "content-delta"}\n\n'):
        with pytest.raises(ValueError):
            read(data)


def test_embeddings() -> None:
    call = asked("embeddings", input=["a", "b"], dimensions=256, input_type="search_query")
    answer = {"id": "e", "embeddings": {"float": [[0.5], [1.0]]}, "meta": {"billed_units": {"input_tokens": 2}}}

    assert call.path == "/embed"
    assert orjson.loads(call.body) == {
        "model": "command-a-03-2025",
        "texts": ["a", "b"],
        "input_type": "search_query",
        "embedding_types": ["float"],
        "output_dimension": 256,
    }
    told = Cohere().response(orjson.dumps(answer), call.memo)
    assert [item["embedding"] for item in told["data"]] == [[0.5], [1.0]]
    assert told["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


def test_rerank() -> None:
    documents = ["a", {"text": "b"}, {"title": "c", "year": 1}]
    call = asked("rerank", query="q", documents=documents, top_n=2, return_documents=True)
    answer = {"id": "r", "results": [{"index": 2, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]}

    assert call.path == "/rerank"
    assert orjson.loads(call.body)["documents"] == ["a", "b", "title: c\nyear: 1"]
    told = Cohere().response(orjson.dumps(answer), call.memo)
    assert [result["document"] for result in told["results"]] == [{"title": "c", "year": 1}, {"text": "a"}]
    plain = asked("rerank", query="q", documents=documents)
    assert Cohere().response(orjson.dumps(answer), plain.memo) == answer


@pytest.mark.parametrize(
    ("endpoint", "chat", "field"),
    [
        ("rerank", {"query": "q", "documents": []}, "documents"),
        ("rerank", {"query": "q", "documents": [5]}, "documents[0]"),
        ("embeddings", {"input": [1, 2]}, "input"),
        ("chat.completions", {"reasoning_effort": "lots"}, "reasoning_effort"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(endpoint: str, chat: dict[str, Any], field: str) -> None:
    with pytest.raises(GatewayError) as refused:
        asked(endpoint, **chat)

    assert refused.value.field == field


@pytest.mark.parametrize(
    ("status", "body", "expected", "message"),
    [
        (400, b'{"id": "x", "message": "invalid request"}', 400, "invalid request"),
        (498, b'{"message": "invalid token"}', 401, "invalid token"),
        (502, b"<html>", 502, "The upstream answered with status 502: <html>"),
        (502, b"[]", 502, "The upstream answered with status 502: []"),
    ],
)
def test_errors(status: int, body: bytes, expected: int, message: str) -> None:
    found = Cohere().error(status, body)

    assert (found.status, found.envelope["error"]["message"]) == (expected, message)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"message": {"content": [5]}}', b'{"message": 5}'])
def test_no_answer_at_all(body: bytes) -> None:
    with pytest.raises(ValueError):
        Cohere().response(body, MEMO)
