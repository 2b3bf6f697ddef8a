"""A relayed stream of the Responses API: its end and its usage are found at every cut of the bytes."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.native import ResponseEvents
from gateway.dataplane.vendors import UNKNOWN

USAGE = {
    "input_tokens": 40,
    "input_tokens_details": {"cached_tokens": 8},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 52,
}


def event(kind: str, **more: Any) -> bytes:
    """One event."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, **more}))


def stream(end: str = "response.completed", usage: Any = USAGE) -> bytes:
    """A short stream."""
    return (
        event("response.created", response={"id": "resp_1", "usage": None})
        + event("response.output_text.delta", delta="Hello ", note="event: response.completed")
        + event("response.output_text.delta", delta="wörld")
        + event(end, response={"id": "resp_1", "usage": usage})
    )


def fed(*pieces: bytes) -> tuple[ResponseEvents, bytes]:
    """A stream fed piece by piece, and what it passed on."""
    made = ResponseEvents(UNKNOWN, "responses")
    return made, b"".join(made.feed(piece) for piece in pieces)


@pytest.mark.parametrize("end", ["response.completed", "response.incomplete", "response.failed"])
def test_the_end_tells_the_usage(end: str) -> None:
    made, out = fed(stream(end))
    assert out == stream(end)
    assert made.done
    assert made.tokens is not None
    assert (made.tokens.prompt, made.tokens.cached, made.tokens.completion, made.tokens.reasoning) == (40, 8, 12, 2)
    assert made.unread() is None


@given(st.lists(st.integers(0, len(stream())), max_size=8))
def test_at_every_cut(cuts: list[int]) -> None:
    data = stream()
    made, out = fed(*(data[a:b] for a, b in itertools.pairwise([0, *sorted(cuts), len(data)])))
    assert out == data
    assert made.done
    assert made.tokens is not None
    assert made.events == 4


def test_what_no_usage_tells_of_is_kept() -> None:
    made, _ = fed(stream(usage=None))
    assert made.done
    assert made.tokens is None
    unread = made.unread()
    assert unread is not None
    assert msgspec.json.decode(b'"' + unread.text + b'"') == "Hello wörld"


def test_an_error_ends_it() -> None:
    made, _ = fed(event("error", code="server_error", message="No."))
    assert made.done
