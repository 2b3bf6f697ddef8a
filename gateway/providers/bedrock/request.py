"""A request of the internal form as Converse takes it. Source: "Converse" in the Amazon Bedrock API reference."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import orjson

from gateway.providers import asking
from gateway.providers.base import Json, Question
from gateway.providers.bedrock.media import VENDOR
from gateway.providers.bedrock.messages import Conversation, cache_point
from gateway.providers.bedrock.thinking import set_thinking
from gateway.providers.telling import Answer

_KNOWN: Final = frozenset(
    (
        "messages",
        "temperature",
        "top_p",
        "top_k",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "response_format",
        "reasoning_effort",
        "thinking",
        "tools",
        "tool_choice",
        "service_tier",
    )
)
_OWN: Final = frozenset(
    (
        "guardrailConfig",
        "performanceConfig",
        "requestMetadata",
        "promptVariables",
        "additionalModelRequestFields",
        "additionalModelResponseFieldPaths",
    )
)
"""What only Converse has, as ``provider_options``."""


def request(question: Question) -> tuple[str, bytes, tuple[str, ...], Answer]:
    """The path, the body, what it can't express, and what is remembered."""
    chat, model = question.chat, question.upstream.model
    conversation = Conversation(chat)
    dropped = [*asking.unknown(chat, _KNOWN), *conversation.dropped]
    body: Json = {"messages": conversation.messages}
    if conversation.system:
        body["system"] = conversation.system
    config = _config(chat)
    if config:
        body["inferenceConfig"] = config
    _set_tools(chat, body, dropped, conversation.uses_tools)
    _set_format(chat, body, dropped)
    _set_tier(chat, body, dropped)
    more: Json = {}
    _set_top_k(chat, more, dropped, model)
    set_thinking(chat, config, more, dropped, model)
    for name, value in asking.own_options(chat, VENDOR, dropped).items():
        if name == "additionalModelRequestFields" and isinstance(value, dict):
            more.update(value)
        elif name in _OWN:
            body[name] = value
        else:
            dropped.append(f"provider_options.bedrock.{name}")
    if more:
        body["additionalModelRequestFields"] = more
    encoded = orjson.dumps(body)
    method = "converse-stream" if chat.get("stream") is True else "converse"
    memo = Answer(asking.answer_id(question, encoded), int(question.now), model)
    return f"/model/{quote(model, safe='-._~')}/{method}", encoded, tuple(dict.fromkeys(dropped)), memo


def _config(chat: Json) -> Json:
    made: Json = {}
    limit = asking.max_tokens_of(chat)
    if limit is not None:
        made["maxTokens"] = limit
    for name, theirs in (("temperature", "temperature"), ("top_p", "topP")):
        if chat.get(name) is not None:
            made[theirs] = chat[name]
    stops = asking.stops_of(chat)
    if stops:
        made["stopSequences"] = stops
    return made


def _set_tools(chat: Json, body: Json, dropped: list[str], used: bool) -> None:
    mode, only = asking.choice_of(chat)
    tools: list[Json] = []
    for at, kind, function, tool in asking.functions_of(chat):
        if kind == "server" and tool.get("vendor") == VENDOR and isinstance(tool.get("tool"), dict):
            tools.append(tool["tool"])
        elif kind != "function":
            dropped.append(f"tools.{kind}")
        elif not only or len(only) == 1 or function["name"] in only:
            tools.append(_tool(function, at))
            if isinstance(tool.get("cache_control"), dict):
                tools.append(cache_point(tool["cache_control"]))
    if not tools:
        return
    if mode == "none":
        if not used:
            return  # without tools none is called
        dropped.append("tool_choice")
    body["toolConfig"] = {"tools": tools}
    if len(only) == 1 and mode == "required":
        body["toolConfig"]["toolChoice"] = {"tool": {"name": only[0]}}
    elif chat.get("tool_choice") is not None and mode != "none":
        body["toolConfig"]["toolChoice"] = {"any": {}} if mode == "required" else {"auto": {}}


def _tool(function: Json, at: str) -> Json:
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise asking.wrong(f"{at}.function.parameters", "a JSON Schema")
    made: Json = {"name": function["name"]}
    if function.get("description"):
        made["description"] = function["description"]
    made["inputSchema"] = {"json": parameters or {"type": "object", "properties": {}}}
    if function.get("strict") is True:
        made["strict"] = True
    return {"toolSpec": made}


def _set_format(chat: Json, body: Json, dropped: list[str]) -> None:
    kind, schema, about = asking.schema_of(chat)
    if kind == "json_schema" and schema:
        told: Json = {"schema": orjson.dumps(schema).decode()}
        told.update({name: about[name] for name in ("name", "description") if about.get(name)})
        body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": told}}}
    elif kind != "text":
        dropped.append("response_format")


def _set_tier(chat: Json, body: Json, dropped: list[str]) -> None:
    tier = asking.asks(chat, "service_tier")
    if tier in ("priority", "flex"):
        body["serviceTier"] = {"type": tier}
    elif tier is not None:
        dropped.append("service_tier")


def _set_top_k(chat: Json, more: Json, dropped: list[str], model: str) -> None:
    top_k = chat.get("top_k")
    if top_k is None:
        return
    if "anthropic." in model or "claude" in model:
        more["top_k"] = top_k
    elif "nova" in model:
        more["inferenceConfig"] = {"topK": top_k}
    else:
        dropped.append("top_k")
