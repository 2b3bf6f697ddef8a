"""A Message as a ``chat.completion``."""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.providers.anthropic.usage import usage_of
from gateway.providers.base import Json

FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_PLAIN: Final = frozenset(("end_turn", "max_tokens", "tool_use"))
"""Reasons of which Chat's word says all."""
_ORDER: Final = {"thinking": 0, "redacted_thinking": 0, "text": 1, "tool_use": 2}
_TIERS: Final = {"standard": "default", "priority": "priority", "batch": "flex"}


def completion_of(message: Any, memo: Any) -> Json:
    """Raises :class:`ValueError` for what is no Message."""
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        raise ValueError("the upstream's answer is no message")
    usage = message.get("usage") or {}
    completion: Json = {
        "id": message.get("id"),
        "object": "chat.completion",
        "created": memo.created,
        "model": message.get("model"),
        "choices": [_choice(message, memo.answer_tool)],
        "usage": usage_of(usage),
    }
    tier = usage.get("service_tier")
    if tier is not None:
        completion["service_tier"] = _TIERS.get(tier, tier)
    return completion


def _choice(message: Json, answer_tool: str | None) -> Json:
    blocks = message["content"]
    said: Json = {"role": "assistant", "content": None}
    texts: list[str] = []
    thoughts = []
    calls = []
    citations: list[Json] = []
    length = 0
    for block in blocks:
        kind = block.get("type")
        if kind == "text":
            citations += citations_of(block.get("citations") or (), length, length + len(block["text"]))
            texts.append(block["text"])
            length += len(block["text"])
        elif kind == "tool_use" and block.get("name") == answer_tool:
            texts.append(orjson.dumps(block.get("input")).decode())
        elif kind == "tool_use":
            calls.append(call_of(block, orjson.dumps(block.get("input")).decode()))
        elif kind in ("thinking", "redacted_thinking"):
            thoughts.append(block)
    said["content"] = "".join(texts) if texts else None
    said["refusal"] = (message.get("stop_details") or {}).get("explanation")
    if thoughts:
        said["reasoning_content"] = "".join([block.get("thinking") or "" for block in thoughts])
        said["thinking_blocks"] = thoughts
    if calls:
        said["tool_calls"] = calls
    said |= told_of(citations)
    if citations or not _in_order(blocks):
        said["provider_blocks"] = {"vendor": "anthropic", "blocks": blocks}
    reason = message.get("stop_reason")
    return {
        "index": 0,
        "message": said,
        "logprobs": None,
        **finish_of("end_turn" if answer_tool and reason == "tool_use" else reason, message.get("stop_sequence")),
    }


def finish_of(reason: str | None, stop_sequence: str | None) -> Json:
    """``finish_reason``, and what it leaves out."""
    told: Json = {"finish_reason": FINISH_REASONS.get(reason or "", "stop")}
    if stop_sequence is not None:
        told["stop_sequence"] = stop_sequence
    if reason is not None and reason not in _PLAIN:
        told["native_finish_reason"] = reason
    return told


def call_of(block: Json, arguments: str) -> Json:
    """A ``tool_use`` block as a tool call."""
    return {
        "id": block.get("id"),
        "type": "function",
        "function": {"name": block.get("name"), "arguments": arguments},
    }


def citations_of(citations: Any, start: int, end: int) -> list[Json]:
    """The citations of a text that stands at these characters of the content."""
    return [{"start_index": start, "end_index": end, "citation": citation} for citation in citations]


def told_of(citations: list[Json]) -> Json:
    """The fields of a message or a delta that tell them: those of the web as OpenAI does too."""
    if not citations:
        return {}
    annotations = []
    for each in citations:
        citation = each["citation"]
        if citation.get("type") == "web_search_result_location":
            place = {"start_index": each["start_index"], "end_index": each["end_index"]}
            cited = {**place, "url": citation.get("url"), "title": citation.get("title") or ""}
            annotations.append({"type": "url_citation", "url_citation": cited})
    return {"citations": citations, **({"annotations": annotations} if annotations else {})}


def _in_order(blocks: list[Json]) -> bool:
    """Whether Chat can say the blocks: thoughts, then texts, then calls."""
    places = [_ORDER.get(str(block.get("type")), -1) for block in blocks]
    return -1 not in places and places == sorted(places)
