"""Which events are what they must be, however they come in blocks."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.soundness import before_error, before_fault, is_sound, reported_error
from gateway.plugin.sse import split_events
from tests.support.raw_upstream import DONE, delta

ERROR = b'data: {"error":{"message":"down"}}\n\n'
GOOD = st.one_of(
    st.builds(delta, st.text(max_size=12)),
    st.sampled_from([DONE, b": ping\n\n", b"data: {}\n\n", b"data: [1]\n\n", b"event: x\ndata: {}\n\n", b"data:\n\n"]),
    st.sampled_from(
        [b'event: message_stop\ndata: {"type":"message_stop", "a": [1]}\n\n', b"event: x\nid: 1\ndata: {}\n\n"]
    ),
    st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=3).map(
        lambda document: (
            b"data: " + orjson.dumps(document) + b"\n\n"
            if all(-(2**63) <= value < 2**64 for value in document.values() if isinstance(value, int))
            else b": large\n\n"
        )
    ),
)
BAD = st.sampled_from(
    [
        b'data: {"a":\n\n',
        b"data: {a}\n\n",
        b"data: x\n\n",
        b'data: {"a":"\xff"}\n\n',
        b'data: {"a":"\xe2\x82"}\n\n',
        b'data: {"a":1}}\n\n',
        b'data: {"a":1},{"b":2}\n\n',
        b'data: {"a":1}{"b":2}\n\n',
        b"data: [DONE]x\n\n",
        b'data: {"a":\n1}\n\n',
        b'event: x\ndata: {"a":\n1}\n\n',
        b'event: x\ndata: {"a":\r1}\n\n',
        b"event: x\ndata: {a}\n\n",
        b'event: x\ndata: {"a":1},"":{"b":2}}\n\n',
    ]
)


@given(st.lists(GOOD, max_size=6))
def test_good_events_are_sound_in_any_block(events: list[bytes]) -> None:
    assert is_sound(b"".join(events))


@given(st.lists(GOOD, max_size=4), BAD, st.lists(GOOD | BAD, max_size=4))
def test_one_bad_event_spoils_a_block_and_what_came_before_is_kept(
    before: list[bytes], bad: bytes, after: list[bytes]
) -> None:
    block = b"".join([*before, bad, *after])
    assert not is_sound(block)
    assert before_fault(block) == b"".join(before)


@given(st.lists(GOOD, max_size=4), st.lists(GOOD, max_size=4))
def test_an_error_parts_a_block(before: list[bytes], after: list[bytes]) -> None:
    block = b"".join([*before, ERROR, *after])
    assert before_error(block) == (b"".join(before), ERROR)
    assert before_error(b"".join(before)) == (b"".join(before), b"")


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (ERROR, {"message": "down"}),
        (b'data: {"id":"1","error":"down"}\n\n', "down"),
        (b'data: {"error":null}\n\n', None),
        (b'data: {"error":{}}\n\n', None),
        (b'data: {"a":{"error":1}}\n\n', None),
        (b'data: ["error"]\n\n', None),
        (delta('"error"'), None),
        (b': {"error":1}\n\n', None),
    ],
)
def test_what_reports_an_error(event: bytes, told: object) -> None:
    assert reported_error(event) == told
    assert split_events(event) == [event]
