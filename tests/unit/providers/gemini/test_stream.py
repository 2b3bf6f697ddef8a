"""Gemini's streams, event by event and at every split."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.gemini import Gemini
from gateway.providers.telling import Answer
from tests.unit.providers.gemini.judge import check_answer

MEMO = Answer("chatcmpl-1", 1_700_000_000, "m")
EVENTS: list[dict[str, Any]] = [
    {
        "candidates": [{"content": {"parts": [{"text": "Hm.", "thought": True}]}}],
        "usageMetadata": {"promptTokenCount": 3},
    },
    {"candidates": [{"content": {"parts": [{"text": "Grüß "}]}}]},
    {"candidates": [{"content": {"parts": [{"text": "dich"}, {"functionCall": {"name": "a", "args": {"x": 1}}}]}}]},
    {
        "candidates": [
            {
                "content": {"parts": [{"functionCall": {"name": "b"}, "thoughtSignature": "c2ln"}, {"text": ""}]},
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "thoughtsTokenCount": 2},
    },
]


def _events(*told: dict[str, Any], end: bytes = b"\r\n\r\n") -> bytes:
    common = {"responseId": "r1", "modelVersion": "gemini-2.5-flash"}
    return b"".join(b"data: " + orjson.dumps({**event, **common}) + end for event in told)


def read(data: bytes, cuts: list[int] | None = None, choices: int = 1) -> tuple[list[dict[str, Any]], bool]:
    gemini = Gemini()
    frames, stream = gemini.frames(), gemini.stream(Answer(MEMO.id, MEMO.created, MEMO.model, choices))
    found: list[dict[str, Any]] = []
    places = [0, *sorted(cuts or []), len(data)]
    for start, end in pairwise(places):
        for event in frames.feed(data[start:end]):
            found += stream.feed(event)
    for event in frames.end():
        found += stream.feed(event)
    return found + stream.end(), stream.done


def test_the_events_are_of_the_api() -> None:
    for event in EVENTS:
        check_answer(event)


def test_event_by_event() -> None:
    chunks, done = read(_events(*EVENTS))

    assert done
    assert {(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks} == {
        ("r1", 1_700_000_000, "gemini-2.5-flash", "chat.completion.chunk")
    }
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    calls = [call for delta in deltas for call in delta.pop("tool_calls", ())]
    assert deltas == [
        {"role": "assistant", "reasoning_content": "Hm."},
        {"content": "Grüß "},
        {"content": "dich"},
        {},
        {},
        {},
    ]
    assert len({call.pop("id") for call in calls}) == 2
    assert calls == [
        {"index": 0, "type": "function", "function": {"name": "a", "arguments": '{"x":1}'}},
        {
            "index": 1,
            "type": "function",
            "function": {"name": "b", "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": "c2ln"}},
        },
    ]
    finishes = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert finishes == [None, None, None, None, None, "tool_calls"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens"] == 3
    assert chunks[-1]["usage"]["completion_tokens"] == 6


@given(cuts=st.lists(st.integers(0, len(_events(*EVENTS))), max_size=10), end=st.sampled_from([b"\n\n", b"\r\n\r\n"]))
def test_any_split_gives_the_same_chunks(cuts: list[int], end: bytes) -> None:
    data = _events(*EVENTS, end=end)

    assert read(data, [min(cut, len(data)) for cut in cuts]) == read(data)


def test_every_border() -> None:
    data = _events(*EVENTS)
    whole = read(data)

    assert all(read(data, [cut]) == whole for cut in range(len(data)))


def test_a_stream_that_breaks_off_is_not_done() -> None:
    chunks, done = read(_events(*EVENTS[:2]))

    assert not done
    assert all(choice["finish_reason"] is None for chunk in chunks for choice in chunk["choices"])


def test_two_choices_end_one_after_the_other() -> None:
    first = {"candidates": [{"index": 0, "content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}
    second = {"candidates": [{"index": 1, "content": {"parts": [{"text": "b"}]}, "finishReason": "MAX_TOKENS"}]}

    assert not read(_events(first), choices=2)[1]
    chunks, done = read(_events(first, second), choices=2)
    assert done
    found = [(choice["index"], choice["finish_reason"]) for chunk in chunks for choice in chunk["choices"]]
    assert found == [(0, None), (0, "stop"), (1, None), (1, "length")]
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks] == ["assistant", None, "assistant", None]


def test_a_refused_prompt() -> None:
    chunks, done = read(_events({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}))

    assert done
    assert chunks[0]["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": ""},
            "finish_reason": "content_filter",
            "native_finish_reason": "PROHIBITED_CONTENT",
        }
    ]


def test_an_answer_that_is_cut_by_a_filter_before_it_began() -> None:
    chunks, done = read(_events({"candidates": [{"finishReason": "SAFETY"}]}))

    assert done
    assert chunks[0]["choices"][0] == {
        "index": 0,
        "delta": {"role": "assistant"},
        "finish_reason": "content_filter",
        "native_finish_reason": "SAFETY",
    }


def test_an_error_within_the_stream() -> None:
    chunks, done = read(_events({"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}))

    assert not done
    assert chunks == [
        {
            "error": {
                "message": "Overloaded.",
                "type": "service_unavailable_error",
                "param": None,
                "code": 503,
            }
        }
    ]


def test_sources_are_placed_in_all_that_was_said() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://example.com", "title": "E"}}],
        "groundingSupports": [{"segment": {"startIndex": 7, "endIndex": 11}, "groundingChunkIndices": [0]}],
    }
    last = {
        "candidates": [
            {"content": {"parts": [{"text": "dich"}]}, "groundingMetadata": grounding, "finishReason": "STOP"}
        ]
    }
    chunks, _ = read(_events(EVENTS[1], last))

    assert [choice["delta"].get("annotations") for chunk in chunks for choice in chunk["choices"]] == [
        None,
        None,
        [
            {
                "type": "url_citation",
                "url_citation": {"start_index": 5, "end_index": 9, "url": "https://example.com", "title": "E"},
            }
        ],
        None,
    ]


@pytest.mark.parametrize(
    "data", [b"data: 5\n\n", b"data: {\n\n", b'data: {"candidates": [{"content": {"parts": [5]}}]}\n\n']
)
def test_an_event_that_is_none(data: bytes) -> None:
    with pytest.raises(ValueError):
        read(data)


def test_comments_say_nothing() -> None:
    assert read(b": ping\n\n") == ([], False)
