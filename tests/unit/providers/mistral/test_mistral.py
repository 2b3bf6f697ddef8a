"""Mistral's chat and embeddings, by the examples of its API reference."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.errors import GatewayError
from gateway.providers.base import Call, Question, Upstream
from gateway.providers.mistral import Mistral
from gateway.providers.mistral.request import call_id
from gateway.providers.telling import Answer

HELLO = [{"role": "user", "content": "Hi"}]
MEMO = Answer("chatcmpl-1", 1, "mistral-small-latest")


def asked(model: str = "mistral-small-latest", endpoint: str = "chat.completions", **chat: Any) -> Call:
    if endpoint == "chat.completions":
        chat.setdefault("messages", HELLO)
    return Mistral().request(Question({"model": "m", **chat}, Upstream(model, api_key="k"), endpoint, 1.0))


def body(**chat: Any) -> dict[str, Any]:
    call = asked(**chat)
    assert call.dropped == ()
    made: dict[str, Any] = orjson.loads(call.body)
    return made


def test_a_plain_question() -> None:
    call = asked(
        messages=[{"role": "developer", "content": "Be brief."}, *HELLO],
        stream=True,
        stream_options={"include_usage": True},
        seed=7,
        max_completion_tokens=9,
        user="u",
        safe_prompt=True,
    )

    assert (call.path, call.headers, call.dropped) == ("/chat/completions", (("authorization", "Bearer k"),), ())
    assert orjson.loads(call.body) == {
        "model": "mistral-small-latest",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "stream": True,
        "max_tokens": 9,
        "random_seed": 7,
        "safe_prompt": True,
    }


@given(id=st.text(max_size=60))
def test_ids_are_nine_letters_and_digits_and_stay_apart(id: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9]{9}", call_id(id))
    assert call_id(id) == call_id(id)
    assert call_id(id + "x") != call_id(id)


def test_an_id_of_their_own_stays() -> None:
    assert call_id("D681PevKs") == "D681PevKs"


TURNS: list[dict[str, Any]] = [
    *HELLO,
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Hm.",
        "thinking_blocks": [],
        "tool_calls": [
            {"id": "call_abcdefgh", "type": "function", "function": {"name": "weather", "arguments": '{"a": 1}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_abcdefgh", "name": "weather", "content": "20", "is_error": True},
    {"role": "assistant", "content": "It", "prefix": True},
]


def test_calls_and_answers_keep_one_id_and_nothing_unknown_is_sent() -> None:
    id = call_id("call_abcdefgh")

    assert body(messages=TURNS)["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": id, "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "tool_call_id": id, "name": "weather", "content": "Error: 20"},
        {"role": "assistant", "content": "It", "prefix": True},
    ]


def test_thoughts_go_back_to_models_that_think() -> None:
    turn = {"role": "assistant", "content": "Ho.", "reasoning_content": "Hm."}
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    whole = [thinking, {"type": "text", "text": "Ho."}]

    assert body(model="magistral-medium-latest", messages=[*HELLO, turn])["messages"][1]["content"] == whole
    assert body(messages=[*HELLO, turn], reasoning_effort="high")["messages"][1]["content"] == whole
    assert body(messages=[*HELLO, turn])["messages"][1]["content"] == "Ho."


def test_parts() -> None:
    content = [
        {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "file", "file": {"file_url": "https://example.com/a.pdf", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "f1"}},
        {"type": "file", "file": {"text": "plain"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]

    assert body(messages=[{"role": "user", "content": content}])["messages"][0]["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "document_url", "document_url": "https://example.com/a.pdf", "document_name": "a.pdf"},
        {"type": "file", "file_id": "f1"},
        {"type": "text", "text": "plain"},
        {"type": "input_audio", "input_audio": "UklGRg=="},
    ]


TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}, "strict": True, "x": 1}},
    {"type": "function", "function": {"name": "time"}},
]


@pytest.mark.parametrize(
    ("choice", "names", "told"),
    [
        ("required", ["weather", "time"], "required"),
        (
            {"type": "function", "function": {"name": "time"}},
            ["weather", "time"],
            {"type": "function", "function": {"name": "time"}},
        ),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "time"}}]},
            },
            ["time"],
            "auto",
        ),
    ],
)
def test_tools(choice: Any, names: list[str], told: Any) -> None:
    made = body(tools=TOOLS, tool_choice=choice)

    assert [tool["function"]["name"] for tool in made["tools"]] == names
    assert made["tools"][-1]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert "x" not in made["tools"][0]["function"]
    assert made["tool_choice"] == told


def test_thinking_by_effort() -> None:
    assert body(thinking={"type": "disabled"})["reasoning_effort"] == "none"
    assert body(thinking={"type": "enabled", "budget_tokens": 9})["reasoning_effort"] == "high"
    assert body(thinking={"type": "disabled"}, reasoning_effort="high")["reasoning_effort"] == "high"


def test_what_mistral_has_no_word_for_is_named() -> None:
    call = asked(
        messages=[{"role": "user", "content": [{"type": "search_result"}, {"type": "text", "text": "x"}]}],
        logit_bias={"1": 1},
        thinking={"type": "adaptive"},
        tools=[{"type": "web_search"}],
        provider_options={"gemini": {}},
    )

    assert set(call.dropped) == {
        "logit_bias",
        "thinking",
        "messages.content.search_result",
        "tools.web_search",
        "provider_options.gemini",
    }


def test_a_whole_answer_with_thoughts() -> None:
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "Ho"},
        {"type": "reference", "reference_ids": [1]},
    ]
    answer = {
        "id": "c1",
        "object": "chat.completion",
        "created": 5,
        "model": "magistral-small",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "model_length"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_audio_seconds": 1},
    }

    assert Mistral().response(orjson.dumps(answer), MEMO) == {
        "id": "c1",
        "object": "chat.completion",
        "created": 5,
        "model": "magistral-small",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Ho",
                    "reasoning_content": "Hm.",
                    "provider_blocks": {"vendor": "mistral", "blocks": [{"type": "reference", "reference_ids": [1]}]},
                },
                "finish_reason": "length",
                "native_finish_reason": "model_length",
            }
        ],
        "usage": answer["usage"],
    }


@pytest.mark.parametrize("arguments", ['{"a":1}', {"a": 1}], ids=["text", "object"])
def test_a_call(arguments: Any) -> None:
    call = {"id": "D681PevKs", "function": {"name": "f", "arguments": arguments}, "index": 0}
    choice = {"message": {"content": "", "tool_calls": [call]}, "finish_reason": "tool_calls"}
    told = Mistral().response(orjson.dumps({"choices": [choice]}), MEMO)["choices"][0]

    assert told["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "D681PevKs", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
    }
    assert told["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("arguments", ['{"a":1}', {"a": 1}], ids=["text", "object"])
def test_a_streamed_call(arguments: Any) -> None:
    call = {"id": "D681PevKs", "function": {"name": "f", "arguments": arguments}, "index": 0}
    chunks, _ = read(_chunk({"tool_calls": [call]}, "tool_calls"))

    assert chunks[0]["choices"][0]["delta"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}


def _chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    told = {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m2", "choices": [choice], **more}
    return b"data: " + orjson.dumps(told) + b"\n\n"


THOUGHT = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]
CALLS = [{"id": "aaaaaaaaa", "function": {"name": f, "arguments": "{}"}} for f in ("f", "g")]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
STREAM = [
    _chunk({"role": "assistant", "content": ""}),
    _chunk({"content": THOUGHT}),
    _chunk({"content": "Grüß"}),
    _chunk({"content": None, "tool_calls": CALLS}),
    _chunk({"content": ""}, "tool_calls", usage=USAGE),
    b"data: [DONE]\n\n",
]


def read(data: bytes, cuts: list[int] | None = None) -> tuple[list[dict[str, Any]], bool]:
    mistral = Mistral()
    frames, stream = mistral.frames(), mistral.stream(MEMO)
    found: list[dict[str, Any]] = []
    places = [0, *sorted(cuts or []), len(data)]
    for index in range(len(places) - 1):
        for event in frames.feed(data[places[index] : places[index + 1]]):
            found += stream.feed(event)
    return found + stream.end(), stream.done


def test_event_by_event() -> None:
    chunks, done = read(b"".join(STREAM))

    assert done
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {("c1", 5, "m2")}
    assert [choice["delta"] for chunk in chunks for choice in chunk["choices"]] == [
        {"role": "assistant"},
        {"reasoning_content": "Hm"},
        {"content": "Grüß"},
        {"tool_calls": [{"index": place, "type": "function", **call} for place, call in enumerate(CALLS)]},
        {},
    ]
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]][-2:] == [None, "tool_calls"]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], USAGE)


def test_every_border() -> None:
    data = b"".join(STREAM)
    whole = read(data)

    assert all(read(data, [cut]) == whole for cut in range(len(data)))


def test_a_stream_that_breaks_off_is_not_done() -> None:
    assert not any(read(b"".join(STREAM[:kept]))[1] for kept in range(len(STREAM)))


def test_an_error_within_the_stream() -> None:
    chunks, done = read(b'data: {"object": "error", "message": "Overloaded.", "code": 503}\n\n')

    assert not done
    assert (chunks[0]["error"]["code"], chunks[0]["error"]["message"]) == (503, "Overloaded.")


@pytest.mark.parametrize("data", [b"data: 5\n\n", b'data: {"choices": [{}]}\n\n', b'data: {"choices": [5]}\n\n'])
def test_an_event_that_is_none(data: bytes) -> None:
    with pytest.raises(ValueError):
        read(data)


def test_embeddings() -> None:
    call = asked(endpoint="embeddings", input="a", dimensions=8, encoding_format="base64", user="u")
    answer = {"object": "list", "data": [{"index": 0, "embedding": "AAA="}], "usage": USAGE}

    assert (call.path, call.dropped) == ("/embeddings", ())
    assert orjson.loads(call.body) == {
        "model": "mistral-small-latest",
        "input": ["a"],
        "output_dimension": 8,
        "encoding_format": "base64",
    }
    assert Mistral().response(orjson.dumps(answer), call.memo) == answer


@pytest.mark.parametrize(
    ("status", "body", "expected", "message", "param"),
    [
        (
            422,
            b'{"object": "error", "message": {"detail": [{"loc": ["body", "top_p"], "msg": "Too large"}]}}',
            400,
            "Too large",
            "top_p",
        ),
        (422, b'{"detail": [{"loc": ["body", "n"], "msg": "a"}, {"loc": [], "msg": "b"}]}', 400, "a; b", "n"),
        (401, b'{"detail": "Unauthorized"}', 401, "Unauthorized", None),
        (429, b'{"object": "error", "message": "Slow", "type": "x", "param": null, "code": 1300}', 429, "Slow", None),
        (502, b"<html>", 502, "The upstream answered with status 502: <html>", None),
        (502, b"[]", 502, "The upstream answered with status 502: []", None),
        (500, b"{}", 500, "The upstream answered with status 500: {}", None),
    ],
)
def test_errors(status: int, body: bytes, expected: int, message: str, param: str | None) -> None:
    found = Mistral().error(status, body)

    assert found.status == expected
    assert (found.envelope["error"]["message"], found.envelope["error"]["param"]) == (message, param)


@pytest.mark.parametrize("chat", [{"messages": [{"role": "x"}]}, {"stop": 5, "max_tokens": "x"}, {"tools": 5}])
def test_what_makes_no_sense_is_refused(chat: dict[str, Any]) -> None:
    with pytest.raises(GatewayError):
        asked(**chat)
