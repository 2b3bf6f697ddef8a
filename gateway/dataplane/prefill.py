"""A request that goes on from the beginning of an answer, in the ways that providers take it.

``message``: a last message of the assistant (Anthropic, "Prefill Claude's response"). ``prefix``: the same marked
``prefix: true`` (Mistral and DeepSeek, "Chat Prefix Completion"). ``continue_final_message``: vLLM's chat parameters.
A text completion goes on from a longer prompt everywhere.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from gateway.dataplane.body import Fields, choices_of

_decode_list: Final = msgspec.json.Decoder(list[Raw]).decode
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_LIMITS: Final = ("max_tokens", "max_completion_tokens")
_THINKING: Final = ("thinking", "reasoning_effort")
"""What Anthropic takes no prefill with. Where the text has begun, the thinking is over."""
_UNFIT: Final = ("echo", "suffix", "audio")
"""Fields with which a text is not all there is to go on from."""


def continued(fields: Fields, text: str, style: str, pieces: int) -> Fields | None:
    """A copy of a request that asks for what follows ``text``, of about ``pieces`` tokens. None where that can't be
    asked for: several answers, an answer that must be JSON, a last message that is no text.
    """
    if choices_of(fields) > 1 or any(_is_set(fields, name) for name in _UNFIT) or _wants_json(fields):
        return None
    made = dict(fields)
    prompt = fields.get("prompt")
    if prompt is not None and "messages" not in fields:
        before = _decode(prompt)
        if not isinstance(before, str):
            return None
        made["prompt"] = Raw(_encode(before + text))
    elif not _add_message(made, text, style):
        return None
    if style == "message":
        for name in _THINKING:
            made.pop(name, None)
    for name in _LIMITS:
        raw = fields.get(name)
        limit = None if raw is None else _decode(raw)
        if isinstance(limit, int):
            made[name] = Raw(_encode(max(1, limit - pieces)))
    return made


def _add_message(made: Fields, text: str, style: str) -> bool:
    messages = _decode_list(made["messages"])
    last: dict[str, Any] = {"role": "assistant", "content": ""}
    given = _decode(messages[-1])
    if isinstance(given, dict) and given.get("role") == "assistant":
        if not isinstance(given.get("content"), str) or given.get("tool_calls") or given.get("provider_blocks"):
            return False
        last = given
        messages.pop()
    last["content"] += text
    if style == "message":
        last["content"] = last["content"].rstrip()
    elif style == "prefix":
        last["prefix"] = True
    elif style == "continue_final_message":
        made["continue_final_message"] = Raw(b"true")
        made["add_generation_prompt"] = Raw(b"false")
    if not last["content"]:
        return False
    made["messages"] = Raw(_encode([*messages, last]))
    return True


def _is_set(fields: Fields, name: str) -> bool:
    raw = fields.get(name)
    return raw is not None and bytes(raw) not in (b"null", b"false", b'""')


def _wants_json(fields: Fields) -> bool:
    raw = fields.get("response_format")
    return raw is not None and b"json" in bytes(raw)
