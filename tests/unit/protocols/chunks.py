"""Chunks of the internal form, made up in any order that an answer may come in."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
from hypothesis import strategies as st

Json = dict[str, Any]


def chunk(delta: Json | None = None, reason: str | None = None, **more: Any) -> Json:
    """A chunk of Chat."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m-1", "choices": [choice], **more}


USAGE = {
    "choices": [],
    "model": "m-1",
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
}


def call(index: int, arguments: str, call_id: str | None = None, name: str | None = None) -> Json:
    """A delta with a piece of a tool call."""
    function = {"arguments": arguments} | ({"name": name} if name else {})
    told: Json = {"index": index, "function": function}
    if call_id is not None:
        told |= {"id": call_id, "type": "function"}
    return {"tool_calls": [told]}


_TEXT = st.text(max_size=12)
_ANNOTATION = st.builds(
    lambda a: {"type": "url_citation", "url_citation": {"url": a, "title": a, "start_index": 0, "end_index": 1}}, _TEXT
)
_LOGPROB = st.builds(lambda a: {"token": a, "logprob": -1.0, "bytes": None, "top_logprobs": []}, _TEXT)
_SAID = st.one_of(
    st.builds(lambda a: {"content": a}, _TEXT),
    st.builds(lambda a: {"role": "assistant", "content": a}, _TEXT),
    st.builds(lambda a: {"content": a, "logprobs": [a]}, _TEXT),
    st.builds(lambda a: {"reasoning_content": a}, _TEXT),
    st.builds(lambda a, b: {"reasoning_content": a, "content": b}, _TEXT, _TEXT),
    st.builds(lambda a: {"thinking_blocks": [{"type": "thinking", "thinking": a, "signature": a}]}, _TEXT),
    st.builds(lambda a: {"refusal": a}, _TEXT),
    st.builds(lambda a: {"annotations": a}, st.lists(_ANNOTATION, max_size=2)),
    st.just({}),
)
_ARGUMENTS = st.dictionaries(_TEXT, _TEXT, max_size=2).map(lambda value: msgspec.json.encode(value).decode())


@st.composite
def _call_deltas(draw: st.DrawFn, index: int) -> list[Json]:
    """One tool call in pieces."""
    arguments = draw(_ARGUMENTS)
    cuts = sorted(draw(st.lists(st.integers(0, len(arguments)), max_size=4)))
    pieces = [arguments[a:b] for a, b in itertools.pairwise([0, *cuts, len(arguments)])]
    return [call(index, pieces[0], f"call{index}", f"f{index}"), *(call(index, piece) for piece in pieces[1:])]


@st.composite
def answers(draw: st.DrawFn) -> list[Json]:
    """Deltas of a whole answer: texts of all kinds and calls, mixed in any way that keeps each call's order."""
    lanes = [draw(st.lists(_SAID, max_size=8))]
    lanes += [draw(_call_deltas(index)) for index in range(draw(st.integers(0, 3)))]
    order = draw(st.permutations([n for n, lane in enumerate(lanes) for _ in lane]))
    queues = [iter(lane) for lane in lanes]
    chunks = []
    for n in order:
        delta = next(queues[n])
        logprobs = delta.pop("logprobs", None)
        made = chunk(delta)
        if logprobs:
            likely = [{"token": each, "logprob": -1.0, "bytes": None, "top_logprobs": []} for each in logprobs]
            made["choices"][0]["logprobs"] = {"content": likely}
        chunks.append(made)
    chunks.append(chunk({}, draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))))
    return [*chunks, USAGE] if draw(st.booleans()) else chunks
