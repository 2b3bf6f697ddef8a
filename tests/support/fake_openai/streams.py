"""Turns JSON objects into server-sent events and bodies as a :class:`Behaviour` frames them."""

from __future__ import annotations

import json
from typing import Any

from tests.support.fake_openai.behaviours import EXTRA, Behaviour

ERROR_EVENT = b'{"error":{"message":"The server had an error","type":"server_error","param":null,"code":null,"x":1.0}}'


def body(behaviour: Behaviour, value: dict[str, Any]) -> bytes:
    """A plain JSON body, indented as OpenAI's are."""
    if behaviour.usage == "never":
        value = {name: part for name, part in value.items() if name != "usage"}
    return _with_extra(behaviour, json.dumps(value, indent=2, ensure_ascii=False).encode())


def events(behaviour: Behaviour, chunks: list[dict[str, Any]]) -> list[bytes]:
    """The events of a stream, ``[DONE]`` included, each complete with its terminator."""
    framed = [_event(behaviour, number, _json(chunk)) for number, chunk in enumerate(_place_usage(behaviour, chunks))]
    if behaviour.ends == "error event":
        framed[-1] = _event(behaviour, len(framed), ERROR_EVENT)
    if behaviour.ends in ("well", "error event"):
        framed.append(_event(behaviour, len(framed), b"[DONE]"))
    if behaviour.comments:
        framed.insert(0, b": ping" + behaviour.newline * 2)
    return framed


def _place_usage(behaviour: Behaviour, chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if behaviour.usage == "as asked" or chunks[-1].get("usage") is None:
        return chunks
    *others, last = chunks
    if behaviour.usage == "with the last choice":
        others[-1]["usage"] = last["usage"]
    return others


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _event(behaviour: Behaviour, number: int, data: bytes) -> bytes:
    lines = [b"data: " + (data if data == b"[DONE]" else _with_extra(behaviour, data))]
    if behaviour.comments:
        lines = [b": keep-alive %d" % number, b"event: message", b"id: %d" % number, *lines]
    return b"".join(line + behaviour.newline for line in lines) + behaviour.newline


def _with_extra(behaviour: Behaviour, encoded: bytes) -> bytes:
    return b"{" + EXTRA + encoded[1:] if behaviour.extra else encoded
