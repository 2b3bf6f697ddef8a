"""Whether the events of a chat's stream are what they must be: JSON, and no report of an error."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import orjson
from msgspec import Raw

from gateway.dataplane.refusal import error_told
from gateway.plugin.sse import DONE, data_of, split_events

_END: Final = b"data: [DONE]\n\n"
_NAMED: Final = re.compile(rb"\n\nevent: [^\r\n]*\ndata: ")

# Syntax alone is looked at: building objects of an event would cost several times as much.
_decode: Final = msgspec.json.Decoder(Raw).decode


def is_sound(block: bytes) -> bool:
    """Whether every event of a block of whole events holds JSON in UTF-8, or is the end."""
    body = block[: -len(_END)] if block.endswith(_END) else block
    if not body:
        return True
    if body.endswith(b"}\n\n"):
        if body.startswith(b"data: {"):
            payload = body[6:-2]
            if b"\n" in payload:
                # Several at once, as the members of an object: with a key before each, none can pass for two.
                payload = b'{"":%b}' % payload.replace(b"\n\ndata: ", b',"":')
                if b"\n" in payload:
                    return all(_is_good(event) for event in split_events(body))
        else:
            payload = _named(body)
        try:
            _decode(payload)
            return body.isascii() or _is_text(body)
        except msgspec.DecodeError:
            pass
    return all(_is_good(event) for event in split_events(body))


def _named(body: bytes) -> bytes:
    """The same of events with a name; nothing where they are in any other form than ``event``, then ``data``."""
    begin = body.find(b"\n") + 1
    if not body.startswith(b"event: ") or not body.startswith(b"data: {", begin) or b"\r" in body:
        return b""
    payload = body[begin + 6 : -2]
    if b"\n" in payload:
        payload = b'{"":%b}' % _NAMED.sub(b',"":', payload)
        if b"\n" in payload:
            return b""  # what follows the end of a line is no part of the data, though it may be one of the JSON
    return payload


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_good(event: bytes) -> bool:
    payload = data_of(event)
    if not payload or payload == DONE:
        return True
    try:
        orjson.loads(payload)  # unlike the other it looks at the encoding too
    except orjson.JSONDecodeError:
        return False
    return True


def before_fault(block: bytes) -> bytes:
    """The events of a block before the first that is no JSON."""
    kept = []
    for event in split_events(block):
        if not _is_good(event):
            break
        kept.append(event)
    return b"".join(kept)


def reported_error(event: bytes) -> Any:
    """What an event says under ``error``; None for an event that reports none."""
    if b'"error"' not in event:
        return None
    try:
        document = orjson.loads(data_of(event) or b"null")
    except orjson.JSONDecodeError:
        return None
    return error_told(document) or None


def before_error(block: bytes) -> tuple[bytes, bytes]:
    """The events of a block before the first that reports an error, and that event; empty where none does."""
    kept: list[bytes] = []
    for event in split_events(block):
        if reported_error(event) is not None:
            return b"".join(kept), event
        kept.append(event)
    return b"".join(kept), b""
