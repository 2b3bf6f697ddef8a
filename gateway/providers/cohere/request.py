"""A request of the internal form as Cohere's chat takes it. Source: "Chat with streaming", Cohere API reference, v2."""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.providers import asking
from gateway.providers.base import Json, Question
from gateway.providers.telling import Answer

VENDOR: Final = "cohere"
_KNOWN: Final = frozenset(
    (
        "messages",
        "temperature",
        "top_p",
        "top_k",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "response_format",
        "reasoning_effort",
        "thinking",
        "tools",
        "tool_choice",
    )
)
_PLAIN: Final = {
    "temperature": "temperature",
    "top_p": "p",
    "top_k": "k",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
_OWN: Final = frozenset(("citation_options", "safety_mode", "priority", "strict_tools", "documents"))
_BUDGETS: Final = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 24_576, "xhigh": 31_000, "max": 31_000}


def body_of(question: Question) -> tuple[bytes, tuple[str, ...], Answer]:
    """The body, what it can't express, and what is remembered."""
    chat, model = question.chat, question.upstream.model
    dropped = asking.unknown(chat, _KNOWN)
    documents: list[Json] = []
    body: Json = {"model": model, "messages": _messages(chat, documents, dropped)}
    if chat.get("stream") is True:
        body["stream"] = True
    for name, theirs in _PLAIN.items():
        value = asking.asks(chat, name)
        if value is not None:
            body[theirs] = value
    limit = asking.max_tokens_of(chat)
    if limit is not None:
        body["max_tokens"] = limit
    stops = asking.stops_of(chat)
    if stops:
        body["stop_sequences"] = stops
    if chat.get("logprobs") is True:
        body["logprobs"] = True
    kind, schema, _ = asking.schema_of(chat)
    if kind != "text":
        body["response_format"] = {"type": "json_object", **({"json_schema": schema} if schema else {})}
    _set_thinking(chat, body)
    _set_tools(chat, body, dropped)
    for name, value in asking.own_options(chat, VENDOR, dropped).items():
        if name == "documents" and isinstance(value, list):
            documents += value
        elif name in _OWN:
            body[name] = value
        else:
            dropped.append(f"provider_options.cohere.{name}")
    if documents:
        body["documents"] = documents
    encoded = orjson.dumps(body)
    memo = Answer(asking.answer_id(question, encoded), int(question.now), model)
    return encoded, tuple(dict.fromkeys(dropped)), memo


def _messages(chat: Json, documents: list[Json], dropped: list[str]) -> list[Json]:
    made: list[Json] = []
    for at, role, message in asking.messages_of(chat):
        if role == "system":
            made.append({"role": "system", "content": asking.plain_text(message, at)})
        elif role == "assistant":
            made.append(_spoken(message, at))
        else:
            content = _content(message, at, documents, dropped)
            if role == "tool":
                texts = "\n".join(part["text"] for part in content if part["type"] == "text")
                text = f"Error: {texts}" if message.get("is_error") is True else texts
                dropped += ["messages.content.image_url" for part in content if part["type"] != "text"]
                made.append({"role": "tool", "tool_call_id": str(message.get("tool_call_id") or ""), "content": text})
            elif len(content) == 1 and content[0]["type"] == "text":
                made.append({"role": "user", "content": content[0]["text"]})
            else:
                made.append({"role": "user", "content": content})
    return made


def _content(message: Json, at: str, documents: list[Json], dropped: list[str]) -> list[Json]:
    made: list[Json] = []
    for index, part in enumerate(asking.parts_of(message, at)):
        place = f"{at}.content[{index}]"
        kind = part["type"]
        file = part.get("file")
        if kind == "text":
            made.append({"type": "text", "text": asking.text_of(part, place)})
        elif kind == "image_url":
            made.append({"type": "image_url", "image_url": {"url": asking.url_of(part, kind, place)}})
        elif kind == "search_result":
            text = "\n".join(str(each.get("text", "")) for each in part.get("content") or ())
            documents.append(_document(part, title=part.get("title"), url=part.get("source"), text=text))
        elif kind == "file" and isinstance(file, dict) and isinstance(file.get("text"), str):
            documents.append(_document(file, title=file.get("filename"), text=file["text"]))
        else:
            own = asking.own_block(part, VENDOR)
            if own is None:
                dropped.append(f"messages.content.{kind}")
            else:
                made.append(own)
    return made


def _document(holder: Json, **data: Any) -> Json:
    made: Json = {"data": {name: value for name, value in data.items() if value is not None}}
    if isinstance(holder.get("id"), str):
        made["id"] = holder["id"]
    return made


def _spoken(message: Json, at: str) -> Json:
    made: Json = {"role": "assistant"}
    text = asking.plain_text(message, at) if message.get("content") else ""
    thought = message.get("reasoning_content")
    calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": orjson.dumps(arguments).decode()}}
        for id, name, arguments, _ in asking.calls_of(message, at)
    ]
    if calls:
        made["tool_calls"] = calls
        if thought:
            made["tool_plan"] = thought
        if text:
            made["content"] = text
    elif thought:
        made["content"] = [{"type": "thinking", "thinking": thought}, {"type": "text", "text": text}]
    else:
        made["content"] = text
    return made


def _set_thinking(chat: Json, body: Json) -> None:
    told, effort = chat.get("thinking"), chat.get("reasoning_effort")
    if isinstance(told, dict):
        body["thinking"] = {"type": "disabled" if told.get("type") == "disabled" else "enabled"}
        if isinstance(told.get("budget_tokens"), int):
            body["thinking"]["token_budget"] = told["budget_tokens"]
    elif effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif effort is not None:
        if effort not in _BUDGETS:
            raise asking.wrong("reasoning_effort", f"none, {', '.join(_BUDGETS)}")
        body["thinking"] = {"type": "enabled", "token_budget": _BUDGETS[effort]}


def _set_tools(chat: Json, body: Json, dropped: list[str]) -> None:
    """A choice of some functions is told by offering these alone."""
    mode, only = asking.choice_of(chat)
    tools: list[Json] = []
    strict = False
    for at, kind, function, tool in asking.functions_of(chat):
        if kind == "server" and tool.get("vendor") == VENDOR and isinstance(tool.get("tool"), dict):
            tools.append(tool["tool"])
        elif kind != "function":
            dropped.append(f"tools.{kind}")
        elif not only or function["name"] in only:
            strict = strict or function.get("strict") is True
            parameters = function.get("parameters") or {"type": "object", "properties": {}}
            if not isinstance(parameters, dict):
                raise asking.wrong(f"{at}.function.parameters", "a JSON Schema")
            described = {"description": function["description"]} if function.get("description") else {}
            made = {"name": function["name"], **described, "parameters": parameters}
            tools.append({"type": "function", "function": made})
    if not tools:
        return
    body["tools"] = tools
    if strict:
        body["strict_tools"] = True
    if mode != "auto":
        body["tool_choice"] = mode.upper()
