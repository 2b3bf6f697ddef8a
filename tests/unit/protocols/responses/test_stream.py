"""Chat chunks become the typed events of a Response, in their order, whatever the chunks are."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.responses import response as responses
from gateway.protocols.responses import stream as streams
from gateway.protocols.responses.protocol import protocol
from gateway.providers.frames import SseFrames, data_of
from tests.unit.protocols.chunks import USAGE, answers, call, chunk
from tests.unit.protocols.responses.grammar import Checked, events_of

Json = dict[str, Any]


def encoder(**body: Any) -> streams.ResponseStream:
    """The encoder for a request."""
    api = protocol()
    return api.stream(api.request({"model": "m", "input": "x", "stream": True, **body}).memo)


def streamed(*chunks: Json, **body: Any) -> Checked:
    """The sound stream that chunks make."""
    made = encoder(**body)
    return Checked(b"".join([*(made.feed(each) for each in chunks), made.end()]))


def kinds(stream: Checked) -> list[str]:
    """The events' types without their common prefix."""
    return [event["type"].removeprefix("response.") for event in stream.events]


def test_a_text() -> None:
    stream = streamed(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        USAGE,
    )
    assert kinds(stream) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    final = stream.final
    assert final["model"] == "m-1"
    assert final["output"][0]["content"] == [
        {"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello"}
    ]
    assert final["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 13,
    }


@pytest.mark.parametrize(("summary", "kind"), [("auto", "reasoning_summary_text"), (None, "reasoning_text")])
def test_thoughts_come_as_the_client_wants_to_see_them(summary: str | None, kind: str) -> None:
    stream = streamed(
        chunk({"reasoning_content": "Hm"}),
        chunk({"reasoning": "m."}),
        chunk({"content": "Yes"}),
        chunk({}, "stop"),
        reasoning={"summary": summary},
    )
    part = "reasoning_summary_part" if summary else "content_part"
    assert kinds(stream)[2:9] == [
        "output_item.added",
        f"{part}.added",
        f"{kind}.delta",
        f"{kind}.delta",
        f"{kind}.done",
        f"{part}.done",
        "output_item.done",
    ]
    assert [item["type"] for item in stream.final["output"]] == ["reasoning", "message"]


def test_signed_thoughts_come_back_as_they_were() -> None:
    blocks = [{"type": "thinking", "thinking": "Hm", "signature": "s=="}, {"type": "redacted_thinking", "data": "d"}]
    stream = streamed(
        chunk({"reasoning_content": "Hm"}),
        chunk({"thinking_blocks": blocks}),
        chunk(call(0, "{}", "c", "f")),
        chunk({"provider_blocks": {"vendor": "v", "blocks": [{"a": 1}]}}),
        chunk({"provider_blocks": {"vendor": "v", "blocks": [{"b": 2}]}}),
        chunk({}, "tool_calls"),
    )
    output = {"type": "function_call_output", "call_id": "c", "output": "x"}
    again = protocol().request({"model": "m", "input": [*stream.final["output"], output]}).chat["messages"]
    assert again[0] == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Hm",
        "thinking_blocks": blocks,
        "provider_blocks": {"vendor": "v", "blocks": [{"a": 1}, {"b": 2}]},
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }


def test_parallel_calls_follow_one_another() -> None:
    stream = streamed(
        chunk({"content": "Look:"}),
        chunk(call(0, "", "a", "f")),
        chunk(call(0, '{"x"')),
        chunk(call(0, ":1}")),
        chunk(call(1, "", "b", "g")),
        chunk(call(1, "{}")),
        chunk({}, "tool_calls"),
    )
    calls = ["function_call_arguments.delta"] * 2
    end = ["function_call_arguments.done", "output_item.done"]
    assert kinds(stream)[8:] == [
        "output_item.added",
        *calls,
        *end,
        "output_item.added",
        calls[0],
        *end,
        "completed",
    ]
    told = [(item["call_id"], item["name"], item["arguments"]) for item in stream.final["output"][1:]]
    assert told == [("a", "f", '{"x":1}'), ("b", "g", "{}")]


def test_calls_whose_pieces_come_in_turns_stay_open() -> None:
    stream = streamed(
        chunk(call(0, '{"x":', "a", "f")),
        chunk(call(1, '{"y":', "b", "g")),
        chunk(call(0, "1}")),
        chunk(call(1, "2}")),
        chunk({}, "tool_calls"),
    )
    assert [item["arguments"] for item in stream.final["output"]] == ['{"x":1}', '{"y":2}']


def test_whole_calls_under_one_index_are_several() -> None:
    stream = streamed(chunk(call(0, '{"x":1}', "a", "f")), chunk(call(0, '{"x":2}', "b", "f")), chunk({}, "tool_calls"))
    told = [(item["call_id"], item["arguments"]) for item in stream.final["output"]]
    assert told == [("a", '{"x":1}'), ("b", '{"x":2}')]


def test_a_call_begins_when_its_name_is_known() -> None:
    stream = streamed(chunk(call(0, "{", "a")), chunk(call(0, "}", None, "f")), chunk({}, "tool_calls"))
    assert [(item["name"], item["arguments"]) for item in stream.final["output"]] == [("f", "{}")]


def test_a_call_without_an_id_gets_one() -> None:
    older = {"function_call": {"name": "f", "arguments": "{}"}}
    (item,) = streamed(chunk(older), chunk({}, "function_call")).final["output"]
    assert item["call_id"].startswith("call_")


def test_a_custom_tool_is_given_text() -> None:
    first = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "patch", "input": "*** "}}
    stream = streamed(
        chunk({"tool_calls": [first]}),
        chunk({"tool_calls": [{"index": 0, "custom": {"input": "Begin"}}]}),
        chunk({}, "tool_calls"),
    )
    (item,) = stream.final["output"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "patch", "*** Begin")


def test_more_of_a_call_that_was_whole_is_a_fault_of_the_provider() -> None:
    stream = streamed(
        chunk(call(0, "{}", "a", "f")),
        chunk({"content": "x"}),
        chunk(call(0, " \n")),
        chunk(call(0, "{}")),
        chunk({}, "stop"),
    )
    assert stream.final["status"] == "failed"
    assert stream.final["error"]["code"] == "server_error"


def test_a_refusal_after_a_text() -> None:
    stream = streamed(chunk({"content": "Well, "}), chunk({"refusal": "no."}), chunk({}, "stop"))
    assert [part["type"] for part in stream.final["output"][0]["content"]] == ["output_text", "refusal"]


def test_citations_and_log_probabilities() -> None:
    citation = {"url": "https://a", "title": "A", "start_index": 0, "end_index": 2}
    likely = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [{"token": "Ho", "logprob": -1.5}]}
    with_logprobs = chunk({"content": "Hi"})
    with_logprobs["choices"][0]["logprobs"] = {"content": [likely]}
    stream = streamed(
        with_logprobs, chunk({"annotations": [{"type": "url_citation", "url_citation": citation}]}), chunk({}, "stop")
    )
    part = stream.final["output"][0]["content"][0]
    assert part["annotations"] == [{"type": "url_citation", **citation}]
    assert part["logprobs"] == [likely | {"top_logprobs": [{"token": "Ho", "logprob": -1.5, "bytes": [72, 111]}]}]
    delta = next(event for event in stream.events if event["type"] == "response.output_text.delta")
    assert delta["logprobs"] == part["logprobs"]


@pytest.mark.parametrize(("reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_is_cut_off_is_incomplete(reason: str, why: str) -> None:
    stream = streamed(chunk({"content": "a"}), chunk(call(0, "{", "c", "f")), chunk({}, reason))
    assert stream.final["status"] == "incomplete"
    assert stream.final["incomplete_details"] == {"reason": why}
    assert [item["status"] for item in stream.final["output"]] == ["completed", "incomplete"]


def test_an_error_within_the_stream() -> None:
    made = encoder()
    data = made.feed(chunk({"content": "a"}))
    envelope = {"error": {"message": "Too many.", "type": "t", "param": None, "code": "c"}}
    stream = Checked(data + made.error(429, envelope, "req"))
    assert stream.final["error"] == {"code": "rate_limit_exceeded", "message": "Too many."}
    assert stream.final["output"][0]["status"] == "incomplete"
    assert stream.final["output"][0]["content"][0]["text"] == "a"
    assert made.feed(chunk({"content": "b"})) == made.end() == made.error(500, envelope, "req") == b""
    assert made.final == stream.final


def test_an_error_before_the_stream() -> None:
    made = encoder()
    envelope = {"error": {"message": "No.", "type": "t", "param": "input", "code": "bad"}}
    (event,) = events_of(made.error(400, envelope, "req"))
    assert event == {"type": "error", "sequence_number": 0, "code": "bad", "message": "No.", "param": "input"}
    assert made.end() == b""


def test_an_answer_of_nothing() -> None:
    stream = streamed()
    assert kinds(stream) == ["created", "in_progress", "completed"]
    assert stream.final["model"] == "m"
    assert stream.final["usage"] is None


def test_deltas_are_padded_where_that_is_asked_for() -> None:
    stream = streamed(
        chunk({"content": "a"}), chunk({"content": "b" * 20}), stream_options={"include_obfuscation": True}
    )
    deltas = [event for event in stream.events if event["type"].endswith(".delta")]
    assert [len(event["delta"] + event["obfuscation"]) for event in deltas] == [16, 32]


def test_an_answer_without_end_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST", 10)
    stream = streamed(chunk({"content": "12345678"}), chunk({"content": "12345678"}))
    assert stream.final["status"] == "failed"


# Whatever the chunks are


def _said(chunks: list[Json], name: str) -> str:
    return "".join(each["choices"][0]["delta"].get(name, "") for each in chunks if each["choices"])


@given(answers(), st.sampled_from([None, "auto"]), st.booleans())
def test_any_answer_keeps_the_order_and_loses_nothing(chunks: list[Json], summary: str | None, padded: bool) -> None:
    stream = streamed(*chunks, reasoning={"summary": summary}, stream_options={"include_obfuscation": padded})
    output = stream.final["output"]
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    assert "".join(part["text"] for part in parts if part["type"] == "output_text") == _said(chunks, "content")
    assert "".join(part["refusal"] for part in parts if part["type"] == "refusal") == _said(chunks, "refusal")
    name = "summary" if summary else "content"
    thoughts = [part["text"] for item in output if item["type"] == "reasoning" for part in item.get(name, ())]
    assert "".join(thoughts) == _said(chunks, "reasoning_content")
    arguments: dict[str, str] = {}
    for each in chunks:
        for told in each["choices"][0]["delta"].get("tool_calls", ()) if each["choices"] else ():
            key = f"call{told['index']}"
            arguments[key] = arguments.get(key, "") + told["function"]["arguments"]
    assert {item["call_id"]: item["arguments"] for item in output if item["type"] == "function_call"} == arguments
    wanted = sum(len(each["choices"][0]["delta"].get("annotations", ())) for each in chunks if each["choices"])
    assert sum(len(part.get("annotations", ())) for part in parts) == wanted


@given(answers(), st.integers(0, 20))
def test_any_answer_that_breaks_off_ends_in_an_error(chunks: list[Json], kept: int) -> None:
    made = encoder()
    data = [made.feed(each) for each in [chunk({"role": "assistant"}), *chunks[:kept]]]
    envelope = {"error": {"message": "Gone.", "type": "t", "param": None, "code": None}}
    stream = Checked(b"".join([*data, made.error(502, envelope, "req")]))
    assert stream.final["status"] == "failed"


@given(answers(), st.data())
def test_any_split_of_the_bytes_makes_the_same_events(chunks: list[Json], data: st.DataObject) -> None:
    wire = b"".join(b"data: %b\n\n" % msgspec.json.encode(each) for each in chunks)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    api = protocol()
    memo = api.request({"model": "m", "input": "x"}).memo
    whole, parts = api.stream(memo), api.stream(memo)
    frames = SseFrames()
    expected = b"".join([*(whole.feed(each) for each in chunks), whole.end()])
    made = []
    for a, b in itertools.pairwise([0, *cuts, len(wire)]):
        made += [parts.feed(msgspec.json.decode(data_of(event))) for event in frames.feed(wire[a:b])]
    made.append(parts.end())
    assert _timeless(b"".join(made)) == _timeless(expected)


def _timeless(stream: bytes) -> list[Json]:
    """Events without the time at which the answer ended."""
    events = events_of(stream)
    events[-1]["response"].pop("completed_at")
    return events


@given(answers())
def test_what_an_answer_says_can_be_sent_back(chunks: list[Json]) -> None:
    output = streamed(*chunks).final["output"]
    items = [{"role": "user", "content": "x"}, *output, *_outputs(output)]
    told = [
        message
        for message in protocol().request({"model": "m", "input": items}).chat["messages"]
        if message["role"] == "assistant"
    ]
    assert "".join(message["content"] or "" for message in told) == _said(chunks, "content")
    assert "".join(message.get("refusal", "") for message in told) == _said(chunks, "refusal")
    calls = {each["id"]: each["function"]["arguments"] for message in told for each in message.get("tool_calls", ())}
    assert calls == {item["call_id"]: item["arguments"] for item in output if item["type"] == "function_call"}
    assert responses.output_text(output) == _said(chunks, "content")


def _outputs(output: list[Json]) -> list[Json]:
    return [
        {"type": "function_call_output", "call_id": item["call_id"], "output": ""}
        for item in output
        if item["type"] == "function_call"
    ]
