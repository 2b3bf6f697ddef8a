"""What OpenAI's own API takes of the internal form, for requests that did not come in as Chat Completions.

A request of a Chat client is relayed as it came and never passes here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from gateway.providers.base import Json

_LIMIT_NAMES: Final = {"openai": "max_completion_tokens", "azure": "max_completion_tokens"}
"""What a vendor calls the most tokens of an answer; all others know the older name."""
_BUDGETS: Final = ((2_048, "low"), (8_192, "medium"))
_REMOVED: Final = ("thinking", "cache_control", "provider_options", "top_k")
_MESSAGE_FIELDS: Final = frozenset(("thinking_blocks", "provider_blocks", "cache_control", "is_error"))
_TAKES_TOP_K: Final = frozenset(("", "local", "openrouter", "qwen"))
"""Vendors whose chat takes ``top_k``: local servers, which have no name here, among them."""
_TAKES_EXTRA: Final = frozenset(("", "openrouter", "portkey"))
"""Vendors that may stand before Google's models: what these signed goes back to them."""
_RETURNED_THOUGHTS: Final = frozenset(("", "local", "deepseek", "moonshot", "qwen", "openrouter"))
"""Vendors that read ``reasoning_content`` of earlier answers."""


def plain(chat: Json, vendor: str) -> tuple[Json, tuple[str, ...]]:
    """The request without what only the internal form has, and what got lost by that, as dotted paths."""
    dropped: dict[str, None] = {}
    made = {name: value for name, value in chat.items() if name not in _REMOVED}
    limit = made.pop("max_completion_tokens", None)
    if limit is not None:
        made[_LIMIT_NAMES.get(vendor, "max_tokens")] = limit
    if chat.get("top_k") is not None:
        if vendor in _TAKES_TOP_K:
            made["top_k"] = chat["top_k"]
        else:
            dropped["top_k"] = None
    _set_effort(chat, made)
    user = (chat.get("metadata") or {}).get("user_id")
    if user:
        made["user"] = user
        made["metadata"] = {name: value for name, value in chat["metadata"].items() if name != "user_id"}
        if not made["metadata"]:
            del made["metadata"]
    for owner in chat.get("provider_options") or {}:
        dropped[f"provider_options.{owner}"] = None
    if chat.get("tools"):
        made["tools"] = list(_tools(chat["tools"], dropped))
        if not made["tools"]:
            made.pop("tools")
            made.pop("tool_choice", None)
            made.pop("parallel_tool_calls", None)
    made["messages"] = _messages(chat.get("messages") or (), vendor, dropped)
    return made, tuple(dropped)


def _set_effort(chat: Json, made: Json) -> None:
    thinking = chat.get("thinking")
    if not isinstance(thinking, dict) or chat.get("reasoning_effort") is not None:
        return
    if thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens") or 0
        made["reasoning_effort"] = next((effort for most, effort in _BUDGETS if budget <= most), "high")


def _tools(tools: Iterable[Json], dropped: dict[str, None]) -> Iterable[Json]:
    for tool in tools:
        kind = tool.get("type")
        if kind == "server":
            dropped[f"tools.{tool.get('vendor')}"] = None
        elif kind not in ("function", "custom"):
            dropped[f"tools.{kind}"] = None  # one of the Responses API's own
        else:
            yield {name: value for name, value in tool.items() if name not in ("cache_control", "provider_options")}


def _messages(messages: Iterable[Json], vendor: str, dropped: dict[str, None]) -> list[Json]:
    made: list[Json] = []
    shown: list[Json] = []  # parts of tools' results that only a user's message takes
    for message in messages:
        if message.get("role") != "tool" and shown:
            made.append({"role": "user", "content": shown})
            shown = []
        plainer = {name: value for name, value in message.items() if name not in _MESSAGE_FIELDS}
        if vendor not in _RETURNED_THOUGHTS:
            plainer.pop("reasoning_content", None)
        if vendor not in _TAKES_EXTRA:
            _leave_extra(plainer)
        content = message.get("content")
        if isinstance(content, list):
            parts = [part for each in content if (part := _part(each, dropped)) is not None]
            if message.get("role") == "tool":
                shown += [part for part in parts if part["type"] != "text"]
                parts = [part for part in parts if part["type"] == "text"]
            plainer["content"] = _shortest(parts)
        if message.get("role") == "tool" and not plainer.get("content"):
            plainer["content"] = "(The result is in the next message of the user.)" if shown else ""
        if message.get("is_error"):
            plainer["content"] = f"Error: {_text_of(plainer.get('content'))}"
        made.append(plainer)
    if shown:
        made.append({"role": "user", "content": shown})
    return made


def _leave_extra(message: Json) -> None:
    message.pop("extra_content", None)
    calls = message.get("tool_calls")
    if calls:
        message["tool_calls"] = [
            {name: value for name, value in call.items() if name != "extra_content"} for call in calls
        ]


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join([part.get("text") or "" for part in content])
    return str(content or "")


def _shortest(parts: list[Json]) -> str | list[Json]:
    if all(part["type"] == "text" for part in parts):
        return "\n".join([part["text"] for part in parts])
    return parts


def _part(part: Json, dropped: dict[str, None]) -> Json | None:
    kind = part.get("type")
    if kind == "search_result":
        texts = [each.get("text") or "" for each in part.get("content") or ()]
        return {"type": "text", "text": "\n".join([f"{part.get('title')} ({part.get('source')})", *texts])}
    if kind == "provider_block":
        block = part.get("block") or {}
        dropped[f"messages.content.{block.get('type')}"] = None
        return None
    if kind == "image_url" and "url" not in (part.get("image_url") or {}):
        dropped["messages.content.image_url.file_id"] = None
        return None
    if kind == "file":
        return _file(part.get("file") or {}, dropped)
    return {name: value for name, value in part.items() if name != "cache_control"}


def _file(file: Json, dropped: dict[str, None]) -> Json | None:
    if isinstance(file.get("text"), str):
        before = [str(file[name]) for name in ("filename", "context") if file.get(name)]
        return {"type": "text", "text": "\n".join([*before, file["text"]])}
    if file.get("file_url"):
        dropped["messages.content.file.file_url"] = None
        return None
    kept = {name: file[name] for name in ("file_data", "file_id") if file.get(name)}
    if "file_data" in kept:
        kept["filename"] = file.get("filename") or "document.pdf"
    return {"type": "file", "file": kept}
