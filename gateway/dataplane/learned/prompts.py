"""The text of a request that is judged: the user's last message, and those before it while there is hardly any."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from gateway.dataplane.learned.asked import Message, Part

SHORT: Final = 200
"""Characters below which a user's message ("and in French?") is judged together with the one before."""

_TEXT: Final = ord('"')  # what a content that is a text begins with
_SEEN: Final = 65_536  # characters, of which the router reads the beginning and the end


_messages: Final = msgspec.json.Decoder(list[Message]).decode
_parts: Final = msgspec.json.Decoder(list[Part]).decode
_text: Final = msgspec.json.Decoder(str).decode
_texts: Final = msgspec.json.Decoder(list[str]).decode


def prompt_of(raw: bytes | memoryview | Raw | None) -> str:
    """The prompt in a field ``messages``, ``input`` or ``prompt``: a text, texts, or messages. Empty for others."""
    if raw is None:
        return ""
    begins = bytes(memoryview(raw)[:64]).lstrip()[:2].replace(b" ", b"")
    try:
        if begins[:1] == b'"':
            return _text(raw)
        if begins == b'["':
            return "\n".join(_texts(raw))
        return asked_in(_messages(raw))
    except msgspec.DecodeError:
        return ""


def asked_in(messages: list[Message]) -> str:
    """What the user asks in the end."""
    found = ""
    for message in reversed(messages):
        if message.role == "user":
            text = text_of(message.content)
            found = f"{text}\n{found}" if found else text
            if len(found) >= SHORT:
                break
    return found if len(found) <= _SEEN else found[: _SEEN // 2] + found[-_SEEN // 2 :]


def text_of(content: Raw) -> str:
    """The text of a message's content: a text, or the text parts of a list."""
    raw = bytes(content)
    try:
        if raw[0] == _TEXT:
            return _text(raw)
        return "\n".join([part.text for part in _parts(raw) if part.text])
    except msgspec.DecodeError:
        return ""
