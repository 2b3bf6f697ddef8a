"""Tools, the choice among them and the format of the text: Responses → Chat Completions.

Responses has flat what Chat nests below the name of the type. Source: OpenAI API reference, "Create a model response"
(``tools``, ``tool_choice``, ``text``).
"""

from __future__ import annotations

from typing import Any, Final

from gateway.protocols.base import Json
from gateway.protocols.responses.checks import array, boolean, object_of, one_of, refusal, string, unsupported

BUILT_IN: Final = frozenset(
    (
        "file_search",
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "computer",
        "computer_use",
        "computer_use_preview",
        "mcp",
        "code_interpreter",
        "programmatic_tool_calling",
        "image_generation",
        "local_shell",
        "shell",
        "apply_patch",
        "namespace",
        "tool_search",
    )
)
"""Tools that OpenAI runs or gives a meaning. A provider of Chat Completions has none of them: what becomes of a request
that wants one is decided where it is translated for a target (``drop_params``).
"""

_FUNCTION: Final = ("name", "description", "parameters", "strict")
_UNKNOWN_TO_CHAT: Final = ("defer_loading", "allowed_callers", "output_schema", "async")
_MODES: Final = ("none", "auto", "required")


def add_tools(chat: Json, body: Json) -> None:
    """Set ``tools``, ``tool_choice`` and ``parallel_tool_calls`` of a Chat request."""
    given = body.get("tools")
    tools = [] if given is None else [_tool(each, f"tools[{i}]") for i, each in enumerate(array(given, "tools"))]
    choice = body.get("tool_choice")
    if choice is not None:
        tools, choice = _choose(choice, tools)
    if not tools:
        # Chat refuses a choice among no tools, even one that says what holds anyway.
        if choice not in (None, "auto", "none"):
            raise refusal("'tool_choice' asks for a tool, and 'tools' has none that it allows.", "tool_choice")
        return
    chat["tools"] = tools
    if choice is not None:
        chat["tool_choice"] = choice
    if body.get("parallel_tool_calls") is not None:
        chat["parallel_tool_calls"] = boolean(body["parallel_tool_calls"], "parallel_tool_calls", True)


def _tool(given: object, where: str) -> Json:
    tool = object_of(given, where)
    kind = string(tool.get("type"), f"{where}.type")
    if kind in BUILT_IN:
        return {"type": kind, kind: {name: value for name, value in tool.items() if name != "type"}}
    if kind not in ("function", "custom"):
        one_of(kind, f"{where}.type", ("function", "custom", *sorted(BUILT_IN)))
    for name in _UNKNOWN_TO_CHAT:
        if tool.get(name):
            raise unsupported(f"{where}.{name}", "can't be told this of a tool")
    if kind == "custom":
        return _custom(tool, where)
    inner = tool.get("function")
    if isinstance(inner, dict):
        tool = inner  # as Chat has it: some clients send the same tools to both
        where = f"{where}.function"
    string(tool.get("name"), f"{where}.name")
    return {"type": "function", "function": {name: tool[name] for name in _FUNCTION if tool.get(name) is not None}}


def _custom(tool: Json, where: str) -> Json:
    custom: Json = {"name": string(tool.get("name"), f"{where}.name")}
    if tool.get("description") is not None:
        custom["description"] = string(tool["description"], f"{where}.description")
    form = tool.get("format")
    if form is not None:
        form = object_of(form, f"{where}.format")
        if one_of(form.get("type"), f"{where}.format.type", ("text", "grammar")) == "grammar":
            form = {"type": "grammar", "grammar": {name: form.get(name) for name in ("definition", "syntax")}}
        custom["format"] = form
    return {"type": "custom", "custom": custom}


def _choose(choice: Any, tools: list[Json]) -> tuple[list[Json], Any]:
    """The tools that remain and Chat's choice among them."""
    if isinstance(choice, str):
        return tools, one_of(choice, "tool_choice", _MODES)
    choice = object_of(choice, "tool_choice")
    kind = string(choice.get("type"), "tool_choice.type")
    if kind == "allowed_tools":
        mode = one_of(choice.get("mode"), "tool_choice.mode", ("auto", "required"))
        return _allowed(array(choice.get("tools"), "tool_choice.tools"), tools), mode
    if kind in BUILT_IN:
        raise unsupported("tool_choice.type", f"has no built-in tool '{kind}'")
    one_of(kind, "tool_choice.type", ("function", "custom", "allowed_tools", *sorted(BUILT_IN)))
    name = string(choice.get("name"), "tool_choice.name")
    if (kind, name) not in {_key(tool) for tool in tools}:
        raise refusal(f"Tool choice '{name[:100]}' not found in 'tools' parameter.", "tool_choice.name")
    return tools, {"type": kind, kind: {"name": name}}


def _allowed(allowed: list[Any], tools: list[Json]) -> list[Json]:
    # Told as fewer tools, which every provider understands. What is lost is a prompt cache over all of them.
    known = {_key(tool): tool for tool in tools}
    kept = {}
    for i, each in enumerate(allowed):
        where = f"tool_choice.tools[{i}]"
        tool = object_of(each, where)
        kind = string(tool.get("type"), f"{where}.type")
        key = kind, "" if kind in BUILT_IN else string(tool.get("name"), f"{where}.name")
        if key not in known:
            named = key[1] or kind
            raise refusal(f"Tool choice '{named[:100]}' not found in 'tools' parameter.", f"{where}.name")
        kept[key] = known[key]
    return [tool for key, tool in known.items() if key in kept]


def _key(tool: Json) -> tuple[str, str]:
    kind = tool["type"]
    return kind, "" if kind in BUILT_IN else tool[kind]["name"]


def add_format(chat: Json, body: Json) -> None:
    """Set ``response_format`` and ``verbosity`` from ``text``, or from ``response_format`` as Chat has it."""
    text = body.get("text")
    form = None
    if text is not None:
        text = object_of(text, "text")
        form = text.get("format")
        if text.get("verbosity") is not None:
            chat["verbosity"] = one_of(text["verbosity"], "text.verbosity", ("low", "medium", "high"))
    plain = body.get("response_format")
    if plain is not None:
        if form is not None:
            raise refusal("'response_format' is the same as 'text.format': give one of them.", "response_format")
        made = _format(object_of(plain, "response_format"), "response_format")
    else:
        made = None if form is None else _format(object_of(form, "text.format"), "text.format")
    if made is not None:
        chat["response_format"] = made


def _format(form: Json, where: str) -> Json | None:
    """Chat's format; None for plain text, which is what holds anyway."""
    kind = one_of(form.get("type"), f"{where}.type", ("text", "json_object", "json_schema"))
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": kind}
    nested = form.get("json_schema")
    if isinstance(nested, dict):
        form, where = nested, f"{where}.json_schema"
    schema = {name: form[name] for name in ("name", "description", "schema", "strict") if form.get(name) is not None}
    string(schema.get("name"), f"{where}.name")
    object_of(schema.get("schema"), f"{where}.schema")
    return {"type": kind, "json_schema": schema}


def flat_format(chat: Json) -> Json:
    """``text`` as a Response shows it."""
    shown = flat_format_of(chat.get("response_format") or {"type": "text"})
    return {"format": shown} | ({"verbosity": chat["verbosity"]} if "verbosity" in chat else {})


def flat_format_of(form: Json) -> Json:
    """Chat's ``response_format`` as ``text.format`` has it."""
    nested = form.get("json_schema")
    return {"type": form.get("type"), **nested} if isinstance(nested, dict) else form
