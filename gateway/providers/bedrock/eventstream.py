"""The framing of ``application/vnd.amazon.eventstream``, decoded as its bytes come.

A message is its length and its headers' length, both 32 bits, their CRC-32, the headers, the payload, and the CRC-32 of
all that. Numbers are big-endian. Source: "Event stream encoding" in the Amazon Transcribe Developer Guide.
"""

from __future__ import annotations

from struct import Struct, error
from typing import Final, NamedTuple
from zlib import crc32

MAX_MESSAGE: Final = 16_777_216
"""Bytes of one message; a longer one is a fault of the upstream."""
MAX_HEADERS: Final = 131_072

_PRELUDE: Final = Struct(">III")
_LENGTH: Final = Struct(">H")
_CRC: Final = Struct(">I")
_SMALLEST: Final = _PRELUDE.size + _CRC.size
# Types 0 and 1 are true and false; 6 is bytes, 7 a text, both with their length before them.
_FIXED: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


class FramingError(ValueError):
    """The bytes are no event stream. Nothing after them can be trusted."""


class Message(NamedTuple):
    """One message: its headers that are texts, such as ``:event-type``, and its payload."""

    headers: dict[str, str]
    payload: bytes


class EventFrames:
    """Cuts bytes into whole messages. See :class:`gateway.providers.base.Frames`."""

    __slots__ = ("_buffer", "_wanted")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._wanted = _PRELUDE.size

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes, each as it came. Raises :class:`FramingError`."""
        buffer = self._buffer
        buffer += data
        found: list[bytes] = []
        at = 0
        while len(buffer) - at >= self._wanted:
            length, headers, checksum = _PRELUDE.unpack_from(buffer, at)
            if self._wanted == _PRELUDE.size:
                _check_prelude(buffer, at, length, headers, checksum)
                self._wanted = length
                continue
            found.append(bytes(buffer[at : at + length]))
            at += length
            self._wanted = _PRELUDE.size
        if at:
            del buffer[:at]
        return found

    def end(self) -> list[bytes]:
        """Nothing: a message is whole or none."""
        self._buffer.clear()
        return []


def parse(frame: bytes) -> Message:
    """One whole message, its checksums compared. Raises :class:`FramingError`."""
    if len(frame) < _SMALLEST:
        raise FramingError("A message is too short.")
    length, headers, checksum = _PRELUDE.unpack_from(frame)
    _check_prelude(frame, 0, length, headers, checksum)
    end = len(frame) - _CRC.size
    if length != len(frame) or crc32(memoryview(frame)[:end]) != _CRC.unpack_from(frame, end)[0]:
        raise FramingError("The checksum of a message is wrong.")
    start = _PRELUDE.size + headers
    return Message(_headers(frame, _PRELUDE.size, start), frame[start:end])


def _check_prelude(buffer: bytearray | bytes, at: int, length: int, headers: int, checksum: int) -> None:
    if crc32(buffer[at : at + 8]) != checksum:
        raise FramingError("The checksum of a message's beginning is wrong.")
    if length > MAX_MESSAGE or headers > MAX_HEADERS or headers > length - _SMALLEST:
        raise FramingError("A message is longer than allowed, or its headers are longer than itself.")


def _headers(frame: bytes, at: int, end: int) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        while at < end:
            size = frame[at]
            name = frame[at + 1 : at + 1 + size].decode()
            at += 1 + size
            kind = frame[at]
            at += 1
            if kind in (6, 7):
                (size,) = _LENGTH.unpack_from(frame, at)
                at += _LENGTH.size
                if kind == 7:
                    found[name] = frame[at : at + size].decode()
                at += size
            else:
                at += _FIXED[kind]
    except (IndexError, KeyError, UnicodeDecodeError, error):
        raise FramingError("The headers of a message can't be read.") from None
    if at != end:
        raise FramingError("The headers of a message don't end where they should.")
    return found


def encode(headers: dict[str, str], payload: bytes) -> bytes:
    """A message with texts as headers."""
    head = b"".join(
        bytes((len(name.encode()),)) + name.encode() + b"\x07" + _LENGTH.pack(len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    start = Struct(">II").pack(_SMALLEST + len(head) + len(payload), len(head))
    frame = start + _CRC.pack(crc32(start)) + head + payload
    return frame + _CRC.pack(crc32(frame))
