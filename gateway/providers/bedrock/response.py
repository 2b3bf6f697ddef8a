"""Converse's answers in the internal form. Source: "Converse" and "Message" in the Amazon Bedrock API reference."""

from __future__ import annotations

from typing import Final

from gateway.providers.base import Json
from gateway.providers.bedrock.media import VENDOR
from gateway.providers.telling import Answer, Citation, cited, count, document, message, tool_call, usage_of

_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_SAME: Final = frozenset(("end_turn", "max_tokens", "tool_use"))
"""Reasons of which ``finish_reason`` says all."""


def response(body: bytes, memo: Answer) -> Json:
    """A ``chat.completion``. Raises :class:`ValueError`."""
    told = document(body)
    blocks = told["output"]["message"]["content"]
    texts: list[str] = []
    thoughts: list[str] = []
    signed: list[Json] = []
    calls: list[Json] = []
    notes: list[Citation] = []
    plain = True
    for block in blocks:
        if "text" in block:
            texts.append(block["text"])
        elif "toolUse" in block and "type" not in block["toolUse"]:
            use = block["toolUse"]
            calls.append(tool_call(use["toolUseId"], use["name"], use.get("input") or {}))
        elif "reasoningContent" in block:
            _think(block["reasoningContent"], thoughts, signed)
        elif "citationsContent" in block:
            start = sum(map(len, texts))
            texts += [piece.get("text", "") for piece in block["citationsContent"].get("content") or ()]
            end = sum(map(len, texts))
            notes += [note(citation, start, end) for citation in block["citationsContent"].get("citations") or ()]
        else:
            plain = False
    made = message("".join(texts) if texts or not calls else None, calls, "".join(thoughts))
    if signed:
        made["thinking_blocks"] = signed
    made |= cited(notes)
    if not plain or notes:
        made["provider_blocks"] = {"vendor": VENDOR, "blocks": blocks}
    choice = {"index": 0, "message": made, **finish(told.get("stopReason"))}
    return memo.completion([choice], usage_from(told["usage"]) if told.get("usage") else None)


def _think(content: Json, thoughts: list[str], signed: list[Json]) -> None:
    if "redactedContent" in content:
        signed.append({"type": "redacted_thinking", "data": content["redactedContent"]})
        return
    text = content["reasoningText"]
    thoughts.append(text.get("text", ""))
    if text.get("signature"):
        signed.append(thought(text.get("text", ""), text["signature"]))


def thought(text: str, signature: str) -> Json:
    """A thought as its model signed it."""
    return {"type": "thinking", "thinking": text, "signature": signature}


def finish(reason: str | None) -> Json:
    """``finish_reason``, and the provider's own word where that says less."""
    found = {"finish_reason": _FINISH.get(reason or "", "stop")}
    if reason is not None and reason not in _SAME:
        found["native_finish_reason"] = reason
    return found


def note(citation: Json, start: int, end: int) -> Citation:
    """What a citation says of a part of the text."""
    web = (citation.get("location") or {}).get("web") or {}
    return Citation(start, end, citation, ((web["url"], citation.get("title")),) if web.get("url") else ())


def usage_from(usage: Json) -> Json:
    """Converse counts what was read from the cache and written to it beside ``inputTokens``."""
    cached, written = count(usage, "cacheReadInputTokens"), count(usage, "cacheWriteInputTokens")
    told = usage_of(
        count(usage, "inputTokens") + cached + written,
        count(usage, "outputTokens"),
        cached=cached,
        cache_write=written if "cacheWriteInputTokens" in usage else None,
    )
    kept = {detail.get("ttl"): count(detail, "inputTokens") for detail in usage.get("cacheDetails") or ()}
    if kept:
        told["prompt_tokens_details"]["cache_creation"] = {
            "ephemeral_5m_input_tokens": kept.get("5m", 0),
            "ephemeral_1h_input_tokens": kept.get("1h", 0),
        }
    return told
