"""A Messages request in the internal form."""

from __future__ import annotations

from typing import Any, Final

from gateway.protocols.base import Json, invalid, missing
from gateway.protocols.messages.content import assistant_message, system_message, user_messages

_TAKEN: Final = frozenset(
    (
        "model", "messages", "max_tokens", "system", "stop_sequences", "stream", "temperature", "top_p", "top_k",
        "tools", "tool_choice", "thinking", "metadata", "service_tier", "cache_control", "output_config",
        "output_format",
    )
)  # fmt: skip
_SAME: Final = ("temperature", "top_p", "top_k", "metadata", "cache_control")
_TIERS: Final = {"auto": "auto", "standard_only": "default"}
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_TOOL: Final = frozenset(("type", "name", "description", "input_schema", "strict", "cache_control"))


def chat_of(body: Json) -> Json:
    """Raises :class:`~gateway.kernel.errors.GatewayError` (INVALID) naming the field."""
    most = body.get("max_tokens")
    if most is None:
        raise missing("max_tokens")
    if isinstance(most, bool) or not isinstance(most, int) or most < 0:
        raise invalid("max_tokens", "an integer of 0 or more", most)
    chat: Json = {"model": body.get("model"), "messages": _conversation(body), "max_completion_tokens": most}
    if body.get("stream"):
        chat["stream"] = True
    for name in _SAME:
        if body.get(name) is not None:
            chat[name] = body[name]
    if body.get("stop_sequences"):
        chat["stop"] = _list(body, "stop_sequences")
    _set_tools(body, chat)
    _set_thinking(body, chat)
    tier = body.get("service_tier")
    if tier is not None:
        if tier not in _TIERS:
            raise invalid("service_tier", "auto or standard_only", tier)
        chat["service_tier"] = _TIERS[tier]
    own = {name: value for name, value in body.items() if name not in _TAKEN and value is not None}
    if own:
        _options(chat).update(own)
    return chat


def _conversation(body: Json) -> list[Json]:
    messages: list[Json] = []
    if body.get("system"):
        messages.append(system_message(body["system"], "system"))
    for place, message in enumerate(_list(body, "messages")):
        field = f"messages.{place}"
        if not isinstance(message, dict):
            raise invalid(field, "a message object", message)
        role, content = message.get("role"), message.get("content")
        if role == "user":
            messages += user_messages(content, f"{field}.content")
        elif role == "assistant":
            messages.append(assistant_message(content, f"{field}.content"))
        elif role == "system":
            messages.append(system_message(content, f"{field}.content"))
        else:
            raise invalid(f"{field}.role", "user, assistant or system", role)
    return messages


def _list(body: Json, name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list):
        raise missing(name) if value is None else invalid(name, "an array", value)
    return value


def _set_tools(body: Json, chat: Json) -> None:
    if body.get("tools"):
        chat["tools"] = [_tool(tool, f"tools.{place}") for place, tool in enumerate(_list(body, "tools"))]
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "tool":
        chat["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif kind in _CHOICES:
        chat["tool_choice"] = _CHOICES[kind]
    else:
        raise invalid("tool_choice.type", "auto, any, tool or none", kind)
    if choice.get("disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False


def _tool(tool: Any, field: str) -> Json:
    if not isinstance(tool, dict):
        raise invalid(field, "a tool object", tool)
    if tool.get("type") not in (None, "custom"):
        return {"type": "server", "vendor": "anthropic", "tool": tool}
    if not isinstance(tool.get("name"), str):
        raise invalid(f"{field}.name", "a string", tool.get("name"))
    if not isinstance(tool.get("input_schema"), dict):
        raise invalid(f"{field}.input_schema", "a JSON schema", tool.get("input_schema"))
    function: Json = {"name": tool["name"], "parameters": tool["input_schema"]}
    for name in ("description", "strict"):
        if tool.get(name) is not None:
            function[name] = tool[name]
    made: Json = {"type": "function", "function": function}
    if tool.get("cache_control"):
        made["cache_control"] = tool["cache_control"]
    own = {name: value for name, value in tool.items() if name not in _TOOL}
    if own:
        made["provider_options"] = {"anthropic": own}
    return made


def _set_thinking(body: Json, chat: Json) -> None:
    """Thinking, effort and the answer's format."""
    thinking = body.get("thinking")
    if thinking is not None:
        if not isinstance(thinking, dict) or "type" not in thinking:
            raise invalid("thinking", "an object with a type", thinking)
        chat["thinking"] = thinking
    config = body.get("output_config") or {}
    if not isinstance(config, dict):
        raise invalid("output_config", "an object", config)
    if config.get("effort") is not None:
        chat["reasoning_effort"] = config["effort"]
    wanted = config.get("format") or body.get("output_format")
    if wanted is not None:
        if not isinstance(wanted, dict) or wanted.get("type") != "json_schema" or "schema" not in wanted:
            raise invalid("output_config.format", "an object with type json_schema and a schema", wanted)
        schema = {"name": "answer", "schema": wanted["schema"], "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    own = {name: value for name, value in config.items() if name not in ("effort", "format") and value is not None}
    if own:
        _options(chat)["output_config"] = own


def _options(chat: Json) -> Json:
    options: Json = chat.setdefault("provider_options", {}).setdefault("anthropic", {})
    return options
