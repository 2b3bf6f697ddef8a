"""The framing of event streams: any split gives the same messages, and no damage goes unnoticed."""

from __future__ import annotations

from struct import pack
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.bedrock.eventstream import MAX_MESSAGE, Decoder, FramingError, Message, encode

# "Event stream encoding", worked by hand: an empty message, and one with a header of type text.
EMPTY = bytes.fromhex("000000100000000005c248eb7d98c8ff")

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES = st.text(st.characters(codec="ascii"), min_size=1, max_size=20)
MESSAGES = st.lists(st.builds(Message, st.dictionaries(NAMES, TEXTS, max_size=3), st.binary(max_size=40)), max_size=5)


def test_an_empty_message() -> None:
    assert Decoder().feed(EMPTY) == [Message({}, b"")]
    assert encode({}, b"") == EMPTY


@given(messages=MESSAGES, data=st.data())
def test_any_split_gives_the_same_messages(messages: list[Message], data: st.DataObject) -> None:
    stream = b"".join(encode(message.headers, message.payload) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = Decoder()
    found: list[Message] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += decoder.feed(stream[start:end])

    assert found == messages
    assert not decoder.partial


def test_byte_by_byte() -> None:
    frame = encode({":event-type": "messageStop", ":message-type": "event"}, b'{"stopReason":"end_turn"}')
    decoder = Decoder()

    found = [message for at in range(len(frame)) for message in decoder.feed(frame[at : at + 1])]

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

    with pytest.raises(FramingError):
        Decoder().feed(bytes(frame))


def test_headers_of_every_type_are_read_past() -> None:
    values = [b"\x00", b"\x01", b"\x02a", b"\x03ab", b"\x04abcd", b"\x05abcdefgh", b"\x06\x00\x02ab", b"\x07\x00\x02ok"]
    values += [b"\x08abcdefgh", b"\x09abcdefghabcdefgh"]
    headers = b"".join(b"\x01" + bytes((97 + index,)) + value for index, value in enumerate(values))

    assert Decoder().feed(_frame(headers, b"x")) == [Message({"h": "ok"}, b"x")]


@pytest.mark.parametrize(
    "headers", [b"\x01a", b"\x01a\x0a", b"\x01a\x07\x00\x09ab", b"\x05a", b"\x01\xff\x01", b"\x01a\x07\x00\x01\xff"]
)
def test_headers_that_make_no_sense(headers: bytes) -> None:
    with pytest.raises(FramingError):
        Decoder().feed(_frame(headers, b""))


@pytest.mark.parametrize(("length", "headers"), [(MAX_MESSAGE + 1, 0), (16, 1), (15, 0), (0, 0), (200_000, 140_000)])
def test_lengths_that_can_not_be_are_refused_before_anything_is_kept(length: int, headers: int) -> None:
    start = pack(">II", length, headers)

    with pytest.raises(FramingError):
        Decoder().feed(start + pack(">I", crc32(start)))


def test_what_is_not_complete_is_known() -> None:
    decoder = Decoder()

    assert decoder.feed(EMPTY[:-1]) == []
    assert decoder.partial


def _frame(headers: bytes, payload: bytes) -> bytes:
    start = pack(">II", 16 + len(headers) + len(payload), len(headers))
    frame = start + pack(">I", crc32(start)) + headers + payload
    return frame + pack(">I", crc32(frame))
