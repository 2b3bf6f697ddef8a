"""Anthropic's usage as OpenAI's: there the prompt is all that was read, from the cache and into it as well."""

from __future__ import annotations

from typing import Any

from gateway.providers.base import Json


def usage_of(usage: Any) -> Json:
    """The ``usage`` of a completion. Counts that are missing are zero."""
    read = usage.get("cache_read_input_tokens") or 0
    written = usage.get("cache_creation_input_tokens") or 0
    prompt = (usage.get("input_tokens") or 0) + read + written
    completion = usage.get("output_tokens") or 0
    details: Json = {"cached_tokens": read}
    if written:
        details["cache_write_tokens"] = written
        if usage.get("cache_creation"):
            details["cache_creation"] = usage["cache_creation"]
    told: Json = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": details,
    }
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens")
    if thought:
        told["completion_tokens_details"] = {"reasoning_tokens": thought}
    if usage.get("server_tool_use"):
        told["server_tool_use"] = usage["server_tool_use"]
    return told
