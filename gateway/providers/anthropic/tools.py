"""Tools and the choice among them."""

from __future__ import annotations

from typing import Any, Final

from gateway.providers.base import Json

_CHOICES: Final = {"auto": "auto", "required": "any", "none": "none"}


def set_tools(chat: Json, body: Json, dropped: dict[str, None]) -> None:
    """Set ``tools`` and ``tool_choice``."""
    tools = [made for tool in chat.get("tools") or () if (made := _tool(tool, dropped)) is not None]
    if not tools:
        return
    body["tools"] = tools
    choice = _choice(chat.get("tool_choice"), dropped)
    if chat.get("parallel_tool_calls") is False and (choice is None or choice["type"] != "none"):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        body["tool_choice"] = choice


def _tool(tool: Json, dropped: dict[str, None]) -> Json | None:
    kind = tool.get("type", "function")
    if kind == "server" and tool.get("vendor") == "anthropic":
        own: Json = tool["tool"]
        return own
    function = tool.get("function")
    if kind != "function" or not isinstance(function, dict):
        dropped[f"tools.{tool.get('vendor') or kind}"] = None
        return None
    made: Json = {"name": function.get("name")}
    if function.get("description"):
        made["description"] = function["description"]
    made["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
    if function.get("strict") is not None:
        made["strict"] = function["strict"]
    if tool.get("cache_control"):
        made["cache_control"] = tool["cache_control"]
    made |= (tool.get("provider_options") or {}).get("anthropic") or {}
    return made


def _choice(choice: Any, dropped: dict[str, None]) -> Json | None:
    if choice is None:
        return None
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "tool", "name": (choice.get("function") or {}).get("name")}
    dropped["tool_choice"] = None
    return None
