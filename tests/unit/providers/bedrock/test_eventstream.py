"""The framing of event streams: any split gives the same messages, and no damage goes unnoticed."""

from __future__ import annotations

from contextlib import suppress
from struct import pack
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.bedrock.eventstream import MAX_MESSAGE, EventFrames, FramingError, Message, encode, parse

# "Event stream encoding", worked by hand: an empty message, and one with a header of type text.
EMPTY = bytes.fromhex("000000100000000005c248eb7d98c8ff")

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES = st.text(st.characters(codec="ascii"), min_size=1, max_size=20)
MESSAGES = st.lists(st.builds(Message, st.dictionaries(NAMES, TEXTS, max_size=3), st.binary(max_size=40)), max_size=5)


def read(frames: EventFrames, data: bytes) -> list[Message]:
    return [parse(frame) for frame in frames.feed(data)]


def test_an_empty_message() -> None:
    assert read(EventFrames(), EMPTY) == [Message({}, b"")]
    assert encode({}, b"") == EMPTY


@given(messages=MESSAGES, data=st.data())
def test_any_split_gives_the_same_messages(messages: list[Message], data: st.DataObject) -> None:
    stream = b"".join(encode(message.headers, message.payload) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    frames = EventFrames()
    found: list[Message] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += read(frames, stream[start:end])

    assert found == messages
    assert frames.end() == []


@given(messages=MESSAGES)
def test_botocore_reads_what_is_read_here(messages: list[Message]) -> None:
    stream = b"".join(encode(message.headers, message.payload) for message in messages)
    judge = EventStreamBuffer()
    judge.add_data(stream)

    assert [Message(event.headers, event.payload) for event in judge] == read(EventFrames(), stream)


def test_byte_by_byte() -> None:
    frame = encode({":event-type": "messageStop", ":message-type": "event"}, b'{"stopReason":"end_turn"}')
    frames = EventFrames()

    found = [message for at in range(len(frame)) for message in read(frames, frame[at : at + 1])]

    assert found == [Message({":event-type": "messageStop", ":message-type": "event"}, b'{"stopReason":"end_turn"}')]


@given(
    headers=st.dictionaries(NAMES, TEXTS, max_size=3),
    payload=st.binary(max_size=40),
    place=st.floats(0, 1, exclude_max=True),
    flip=st.integers(1, 255),
)
def test_a_changed_byte_never_gives_a_message(headers: dict[str, str], payload: bytes, place: float, flip: int) -> None:
    frame = bytearray(encode(headers, payload))
    frame[int(place * len(frame))] ^= flip

    found: list[Message] = []
    with suppress(FramingError):
        found = read(EventFrames(), bytes(frame))
    assert found == []


def test_headers_of_every_type_are_read_past() -> None:
    values = [b"\x00", b"\x01", b"\x02a", b"\x03ab", b"\x04abcd", b"\x05abcdefgh", b"\x06\x00\x02ab", b"\x07\x00\x02ok"]
    values += [b"\x08abcdefgh", b"\x09abcdefghabcdefgh"]
    headers = b"".join(b"\x01" + bytes((97 + index,)) + value for index, value in enumerate(values))

    assert read(EventFrames(), _frame(headers, b"x")) == [Message({"h": "ok"}, b"x")]


@pytest.mark.parametrize(
    "headers", [b"\x01a", b"\x01a\x0a", b"\x01a\x07\x00\x09ab", b"\x05a", b"\x01\xff\x01", b"\x01a\x07\x00\x01\xff"]
)
def test_headers_that_make_no_sense(headers: bytes) -> None:
    with pytest.raises(FramingError):
        read(EventFrames(), _frame(headers, b""))


@pytest.mark.parametrize(("length", "headers"), [(MAX_MESSAGE + 1, 0), (16, 1), (15, 0), (0, 0), (200_000, 140_000)])
def test_lengths_that_can_not_be_are_refused_before_anything_is_kept(length: int, headers: int) -> None:
    start = pack(">II", length, headers)

    with pytest.raises(FramingError):
        EventFrames().feed(start + pack(">I", crc32(start)))


def test_what_is_not_complete_is_no_message() -> None:
    frames = EventFrames()

    assert frames.feed(EMPTY[:-1]) == []
    assert frames.end() == []
    assert read(frames, EMPTY) == [Message({}, b"")]


@pytest.mark.parametrize("frame", [b"", EMPTY[:-1], EMPTY + b"x"])
def test_a_piece_is_no_message(frame: bytes) -> None:
    with pytest.raises(FramingError):
        parse(frame)


def _frame(headers: bytes, payload: bytes) -> bytes:
    start = pack(">II", 16 + len(headers) + len(payload), len(headers))
    frame = start + pack(">I", crc32(start)) + headers + payload
    return frame + pack(">I", crc32(frame))
