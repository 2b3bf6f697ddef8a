"""A completion as a Message."""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.protocols.base import Json
from gateway.protocols.calls import made_id
from gateway.protocols.sealed import seal, signatures_of

_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_OWN: Final = frozenset(("stop_sequence", "pause_turn", "refusal", "model_context_window_exceeded"))
_TIERS: Final = {"default": "standard", "priority": "priority", "flex": "batch"}


def message_of(completion: Json) -> Json:
    """The whole answer; of several choices the first."""
    choices = completion.get("choices") or [{}]
    choice = choices[0]
    said = choice.get("message") or {}
    blocks = blocks_of(said, completion.get("id"))
    called = any(block.get("type") == "tool_use" for block in blocks)
    return {
        "id": id_of(completion.get("id")),
        "type": "message",
        "role": "assistant",
        "model": completion.get("model"),
        "content": blocks,
        "stop_reason": stop_reason(choice, called),
        "stop_sequence": choice.get("stop_sequence"),
        "usage": usage_of(completion.get("usage") or {}, completion.get("service_tier")),
    }


def id_of(given: Any) -> str:
    """A message's id, ``msg_…``."""
    own = str(given or "")
    return own if own.startswith("msg_") else f"msg_{own.removeprefix('chatcmpl-')}"


def blocks_of(said: Json, answer: object = None) -> list[Json]:
    """The content: Anthropic's own blocks where they are told, else thoughts, text and calls. ``answer`` is its id."""
    own = said.get("provider_blocks")
    if isinstance(own, dict) and own.get("vendor") == "anthropic":
        return list(own.get("blocks") or ())
    blocks = list(said.get("thinking_blocks") or ())
    thought = said.get("reasoning_content") or said.get("reasoning")
    if not blocks and isinstance(thought, str):
        blocks.append({"type": "thinking", "thinking": thought, "signature": ""})
    text = said.get("content") or said.get("refusal")
    if isinstance(text, list):
        text = "".join([part.get("text") or "" for part in text if isinstance(part, dict)])
    if text:
        blocks.append({"type": "text", "text": text})
    signed = signatures_of(said.get("tool_calls"))
    if signed:
        blocks.append(sealed(signed))
    for number, call in enumerate(said.get("tool_calls") or ()):
        function = call.get("function") or {}
        id = call.get("id") or made_id("toolu_", answer, number)
        made = {"type": "tool_use", "id": id, "name": function.get("name")}
        blocks.append({**made, "input": _input(function.get("arguments"))})
    return blocks


def sealed(signed: Json) -> Json:
    """What another vendor signed of the calls that follow, by their ids: clients send such a block back as it is."""
    return {"type": "redacted_thinking", "data": seal({"calls": signed})}


def _input(arguments: Any) -> Json:
    if not arguments:
        return {}
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        value = None
    # A model may have been cut off within its arguments, and they must be an object.
    return value if isinstance(value, dict) else {"_unparsed": arguments}


def stop_reason(choice: Json, called: bool) -> str:
    """``stop_reason``: Anthropic's own word where it is told."""
    native = choice.get("native_finish_reason")
    if native in _OWN:
        return str(native)
    reason = choice.get("finish_reason")
    if choice.get("stop_sequence") is not None:
        return "stop_sequence"
    if called and reason in ("stop", None):
        return "tool_use"  # several servers say stop there
    return _STOP_REASONS.get(str(reason), "end_turn")


def usage_of(usage: Json, tier: str | None = None) -> Json:
    """``usage``: there what was read from the cache and into it is no part of ``input_tokens``."""
    details = usage.get("prompt_tokens_details") or {}
    read = details.get("cached_tokens") or 0
    written = details.get("cache_write_tokens") or 0
    told: Json = {
        "input_tokens": max(0, (usage.get("prompt_tokens") or 0) - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.get("completion_tokens") or 0,
    }
    if details.get("cache_creation"):
        told["cache_creation"] = details["cache_creation"]
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    if thought:
        told["output_tokens_details"] = {"thinking_tokens": thought}
    if usage.get("server_tool_use"):
        told["server_tool_use"] = usage["server_tool_use"]
    if tier is not None:
        told["service_tier"] = _TIERS.get(tier, "standard")
    return told
