from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.kernel.errors import GatewayError
from gateway.plugin.scan import Scanner
from gateway.plugin.sse import data_of, split_events, with_data
from gateway.plugin.streams import MAX_CHANNELS, StreamRewriter
from gateway.plugin.texts import REQUEST_KEYS, rewrite_answer, rewrite_texts
from tests.support.plugins import delta, sse

SECRET = Scanner(["secret"])


def rewriter() -> StreamRewriter:
    return StreamRewriter(lambda: SECRET.filter(lambda match: (match.end(), "***")))


def run(*documents: Any) -> list[Any]:
    """The documents of what comes out; texts such as ``[DONE]`` as they are."""
    rewrite = rewriter()
    out = b"".join([rewrite.event(event) for event in sse(*documents)])
    datas = [data_of(event) for event in split_events(out)]
    return [data.decode() if data == b"[DONE]" else orjson.loads(data or b"null") for data in datas]


def contents(documents: list[Any], index: int = 0) -> str:
    choices = [choice for document in documents if isinstance(document, dict) for choice in document.get("choices", ())]
    return "".join([choice["delta"].get("content") or "" for choice in choices if choice["index"] == index])


def test_an_unchanged_event_is_the_same_object() -> None:
    rewrite = rewriter()
    events = [b": ping\n\n", b"data: not json\n\n", *sse(delta("hi "), delta(finish="stop"), "[DONE]", [1])]
    assert all(rewrite.event(event) is event or rewrite.event(event) == event for event in events)
    plain = sse(delta("hello "))[0]
    assert rewriter().event(plain) is plain


def test_a_word_split_over_events_is_replaced_before_the_end_is_seen() -> None:
    out = run(delta("a sec"), delta("re"), delta("t and sec"), delta(finish="stop"), "[DONE]")
    assert contents(out) == "a *** and sec"
    finish = next(i for i, document in enumerate(out) if document["choices"][0]["finish_reason"] == "stop")
    assert contents(out[finish:]) == ""
    held = out[finish - 1]
    assert held["choices"] == [{"index": 0, "delta": {"content": "sec"}, "finish_reason": None}]
    assert (held["id"], held["object"], held["model"]) == ("chatcmpl-1", "chat.completion.chunk", "m")
    assert out[-1] == "[DONE]"


def test_text_in_the_finishing_event_stays_there() -> None:
    out = run(delta("sec"), delta("ret s", finish="stop"), "[DONE]")
    assert len(out) == 3
    assert out[1]["choices"][0]["delta"]["content"] == "*** s"


@pytest.mark.parametrize("last", ["[DONE]", {"error": {"message": "the secret upstream broke"}}])
def test_a_stream_without_a_finish_reason_is_flushed_too(last: Any) -> None:
    out = run(delta("my sec"), last)
    assert contents(out[:-1]) == "my sec"
    assert out[-1] in ("[DONE]", {"error": {"message": "the *** upstream broke"}})


def test_choices_and_fields_do_not_mix() -> None:
    out = run(
        delta("sec", index=0),
        delta("ret", index=1),
        delta(index=0, reasoning_content="sec"),
        delta("ret", index=0),
        delta(index=0, reasoning_content="ret"),
        delta(index=1, finish="stop"),
        delta(index=0, finish="stop"),
        "[DONE]",
    )
    assert (contents(out, 0), contents(out, 1)) == ("***", "ret")
    reasoning = [document["choices"][0]["delta"].get("reasoning_content") or "" for document in out[:-1]]
    assert "".join(reasoning) == "***"


def test_tool_calls_are_rewritten_by_index_and_stay_json() -> None:
    def call(index: int, arguments: str) -> dict[str, Any]:
        return delta(tool_calls=[{"index": index, "function": {"arguments": arguments}}])

    out = run(call(0, '{"a":"se'), call(1, '{"b":"cr'), call(0, 'cret"}'), call(1, 'et"}'), delta(finish="tool_calls"))
    merged = {0: "", 1: ""}
    for document in out:
        for part in document["choices"][0]["delta"].get("tool_calls", ()):
            merged[part["index"]] += part["function"]["arguments"]
    assert merged == {0: '{"a":"***"}', 1: '{"b":"cret"}'}


def test_a_half_sent_argument_is_flushed_as_an_argument() -> None:
    out = run(delta(tool_calls=[{"index": 2, "function": {"arguments": '{"a":"sec'}}]), delta(finish="length"))
    assert out[1]["choices"][0]["delta"] == {"tool_calls": [{"index": 2, "function": {"arguments": "sec"}}]}
    out = run(delta(function_call={"arguments": '{"a":"sec'}), delta(finish="length"))
    assert out[1]["choices"][0]["delta"] == {"function_call": {"arguments": "sec"}}


def test_text_completions_are_rewritten() -> None:
    def part(text: str, finish: str | None = None) -> dict[str, Any]:
        return {
            "id": "c",
            "choices": [{"index": 0, "text": text, "finish_reason": finish, "logprobs": {"tokens": ["s"]}}],
        }

    out = run(part("my sec"), part("ret"), part("", "stop"))
    assert "".join([document["choices"][0]["text"] for document in out]) == "my ***"
    assert out[1]["choices"][0]["logprobs"] is None


def test_content_parts_and_foreign_events_are_rewritten_as_wholes() -> None:
    parts = delta()
    parts["choices"][0]["delta"] = {"content": [{"type": "text", "text": "a secret"}]}
    out = run(parts, {"type": "x.delta", "delta": "secret"})
    assert out[0]["choices"][0]["delta"]["content"] == [{"type": "text", "text": "a ***"}]
    assert out[1] == {"type": "x.delta", "delta": "***"}


def test_strange_shapes_pass() -> None:
    strange = [
        {
            "choices": [
                1,
                None,
                {"index": "x", "delta": 5},
                {"delta": {"content": 5, "tool_calls": [7, {"function": 1}]}},
            ]
        },
        {"choices": 5},
        {"choices": []},
        7,
    ]
    assert run(*strange) == strange


def test_the_number_of_parts_is_bounded() -> None:
    rewrite = rewriter()
    for index in range(MAX_CHANNELS):
        rewrite.event(sse(delta("x", index=index))[0])
    one_more = sse(delta("x", index=MAX_CHANNELS))[0]
    with pytest.raises(GatewayError, match="too many parts"):
        rewrite.event(one_more)


def test_events_are_framed_as_the_standard_says() -> None:
    assert split_events(b"data: 1\n\n: c\r\n\r\ndata: 2\r\rrest") == [
        b"data: 1\n\n",
        b": c\r\n\r\n",
        b"data: 2\r\r",
        b"rest",
    ]
    assert data_of(b"data: 1\n\n") == data_of(b"data:1\r\n\r\n") == data_of(b"event: e\ndata: 1\n\n") == b"1"
    assert data_of(b"data: a\ndata: b\n\n") == b"a\nb"
    assert data_of(b": comment\n\n") is None
    assert with_data(b"event: e\nid: 7\ndata: a\ndata: b\r\n\r\n", b"c") == b"event: e\nid: 7\ndata: c\n\n"


def test_texts_of_a_request_are_found_and_identifiers_are_not() -> None:
    body: dict[str, Any] = {
        "model": "x",
        "prompt": ["x", [1, 2]],
        "input": "x",
        "tools": [{"description": "x"}],
        "messages": [
            {"role": "x", "name": "x", "content": "x"},
            {"role": "user", "content": [{"type": "x", "text": "x"}, {"image_url": {"url": "x"}}]},
            {"tool_call_id": "x", "tool_calls": [{"id": "x", "function": {"name": "x", "arguments": "x"}}]},
        ],
    }
    assert rewrite_texts(body, REQUEST_KEYS, lambda _: "T", lambda _: "A")
    assert body == {
        "model": "x",
        "prompt": ["T", [1, 2]],
        "input": "T",
        "tools": [{"description": "x"}],
        "messages": [
            {"role": "x", "name": "x", "content": "T"},
            {"role": "user", "content": [{"type": "x", "text": "T"}, {"image_url": {"url": "x"}}]},
            {"tool_call_id": "x", "tool_calls": [{"id": "x", "function": {"name": "x", "arguments": "A"}}]},
        ],
    }
    assert not rewrite_texts(body, REQUEST_KEYS, str, str)


def test_a_very_deep_document_is_no_danger() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    assert rewrite_texts({"messages": deep}, REQUEST_KEYS, str.upper, str.upper)
    while isinstance(deep, list):  # taken apart level by level: freeing it at once would recurse
        deep = deep[0]
    assert deep == "X"


def test_log_probabilities_go_with_the_text_they_spell() -> None:
    answer = {"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"token": "x"}]}}]}
    assert not rewrite_answer(answer, str, str)
    assert answer["choices"][0]["logprobs"] is not None
    assert rewrite_answer(answer, str.upper, str.upper)
    assert answer["choices"][0] == {"message": {"content": "X"}, "logprobs": None}
