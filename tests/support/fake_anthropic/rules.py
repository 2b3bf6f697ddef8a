"""What a request must be: the API's own refusals, as far as a translation could run into them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_FIELDS = {
    "model", "messages", "max_tokens", "system", "stop_sequences", "stream", "temperature", "top_p", "top_k", "tools",
    "tool_choice", "thinking", "metadata", "service_tier", "cache_control", "output_config", "container",
}  # fmt: skip
_BLOCKS = {
    "user": {"text", "image", "document", "search_result", "tool_result"},
    "assistant": {
        "text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "web_search_tool_result",
    },
    "system": {"text"},
}  # fmt: skip


def fault(body: Any, *, counting: bool = False) -> str | None:
    """What the API would say is wrong, or None."""
    if not isinstance(body, dict):
        return "body: Input should be a valid dictionary"
    for name in ("model", "messages") if counting else ("model", "messages", "max_tokens"):
        if name not in body:
            return f"{name}: Field required"
    for name in body:
        if name not in _FIELDS:
            return f"{name}: Extra inputs are not permitted"
    if not 0 <= body.get("temperature", 1) <= 1:
        return "temperature: Input should be less than or equal to 1"
    thinking = body.get("thinking", {})
    if thinking.get("type") == "enabled" and not 1024 <= thinking["budget_tokens"] < body.get("max_tokens", 10**9):
        return "`max_tokens` must be greater than `thinking.budget_tokens`"
    if thinking.get("type") in ("enabled", "adaptive") and body.get("tool_choice", {}).get("type") in ("any", "tool"):
        return "Thinking may not be enabled when tool_choice forces tool use."
    for tool in body.get("tools", ()):
        if "type" not in tool and tool.get("input_schema", {}).get("type") != "object":
            return "tools.0.custom.input_schema.type: Field required"
    return _turns(body["messages"])


def _turns(messages: list[Json]) -> str | None:
    if not messages:
        return "messages: at least one message is required"
    if messages[0]["role"] != "user":
        return 'messages: first message must use the "user" role'
    open_calls: set[str] = set()
    for place, turn in enumerate(messages):
        blocks = turn["content"]
        if turn.keys() != {"role", "content"}:
            return f"messages.{place}: Extra inputs are not permitted"
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        wrong = next((b["type"] for b in blocks if b["type"] not in _BLOCKS.get(turn["role"], ())), None)
        if wrong is not None:
            return f"messages.{place}.content.0: Input tag '{wrong}' found using 'type' does not match"
        if any(block["type"] == "text" and not block["text"] for block in blocks):
            return "messages: text content blocks must be non-empty"
        results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if open_calls - results:
            return f"messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately after"
        if results - open_calls:
            return f"messages.{place}.content.0: unexpected `tool_use_id` found in `tool_result` blocks"
        open_calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
    return None
