"""A request of the internal form as ``generateContent``. Source: "Generating content" in the Gemini API reference."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

import orjson

from gateway.providers import asking
from gateway.providers.base import Call, Json, Question
from gateway.providers.gemini.contents import VENDOR, Contents
from gateway.providers.gemini.schema import json_schema, reduce
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
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "n",
        "logprobs",
        "top_logprobs",
        "response_format",
        "reasoning_effort",
        "thinking",
        "tools",
        "tool_choice",
        "modalities",
        "web_search_options",
        "google",
    )
)
_PLAIN: Final = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "n": "candidateCount",
}
_GEMINI_2: Final = re.compile(r"gemini-(1|2|flash|pro$)|gemma|learnlm")
# As Google's own OpenAI-compatible API has it ("OpenAI compatibility", Thinking).
_BUDGETS: Final = {"none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576, "xhigh": 24_576}
_LEVELS: Final = {"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}
_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def is_old(model: str) -> bool:
    """Whether a model is from before Gemini 3: thinks by a budget of tokens and checks no signatures."""
    return _GEMINI_2.search(model.rpartition("/")[2].lower()) is not None


def request(question: Question, headers: tuple[tuple[str, str], ...]) -> Call:
    """The call. ``headers`` authenticate it."""
    chat = question.chat
    model = question.upstream.model
    old = is_old(model)
    contents = Contents(chat, signed=not old)
    dropped = [*asking.unknown(chat, _KNOWN), *contents.dropped]
    body: Json = {"contents": contents.contents}
    if contents.system:
        body["systemInstruction"] = {"parts": contents.system}
    tools = _tools(chat, dropped)
    if tools:
        body["tools"] = tools
    if chat.get("tool_choice") is not None and tools:
        body["toolConfig"] = {"functionCallingConfig": _calling(chat)}
    config = _config(chat, old)
    google = chat.get("google")
    if isinstance(google, dict):
        _take_google(google, body, config)
    own = asking.own_options(chat, VENDOR, dropped)
    config.update(own.get("generationConfig") or {})
    body.update({name: value for name, value in own.items() if name not in ("generationConfig", "contents")})
    if config:
        body["generationConfig"] = config
    encoded = orjson.dumps(body)
    method = "streamGenerateContent?alt=sse" if chat.get("stream") is True else "generateContent"
    choices = config.get("candidateCount", 1)
    memo = Answer(asking.answer_id(question, encoded), int(question.now), model, choices)
    return Call(f"/models/{quote(model, safe='-._~')}:{method}", headers, encoded, tuple(dropped), memo)


def _config(chat: Json, old: bool) -> Json:
    made: Json = {}
    for name, theirs in _PLAIN.items():
        value = asking.asks(chat, name)
        if value is not None:
            made[theirs] = value
    limit = asking.max_tokens_of(chat)
    if limit is not None:
        made["maxOutputTokens"] = limit
    stops = asking.stops_of(chat)
    if stops:
        made["stopSequences"] = stops
    if chat.get("logprobs") is True:
        made["responseLogprobs"] = True
        if asking.asks(chat, "top_logprobs") is not None:
            made["logprobs"] = chat["top_logprobs"]
    modalities = asking.asks(chat, "modalities")
    if isinstance(modalities, list):
        made["responseModalities"] = [str(item).upper() for item in modalities]
    _response_format(chat, made)
    thinking = _thinking(chat, old)
    if thinking is not None:
        made["thinkingConfig"] = thinking
    return made


def _response_format(chat: Json, made: Json) -> None:
    kind, schema, _ = asking.schema_of(chat)
    if kind == "text":
        return
    made["responseMimeType"] = "application/json"
    if schema:
        reduced = reduce(schema)
        if reduced is not None:
            made["responseSchema"] = reduced
        else:
            made["responseJsonSchema"] = json_schema(schema)


def _thinking(chat: Json, old: bool) -> Json | None:
    told = chat.get("thinking")
    if isinstance(told, dict):
        if told.get("type") == "disabled":
            return {"thinkingBudget": 0} if old else {"thinkingLevel": "MINIMAL"}
        budget = told.get("budget_tokens") if told.get("type") == "enabled" else -1
        if told.get("type") not in ("enabled", "adaptive") or not isinstance(budget, int):
            raise asking.wrong("thinking", "type enabled with budget_tokens, adaptive or disabled")
        effort = chat.get("reasoning_effort")
        if not old and budget == -1 and isinstance(effort, str) and effort in _LEVELS:
            return {"thinkingLevel": _LEVELS[effort], "includeThoughts": True}
        return {"thinkingBudget": budget, "includeThoughts": True}
    effort = chat.get("reasoning_effort")
    if effort is None:
        return None
    if effort not in _BUDGETS:
        raise asking.wrong("reasoning_effort", ", ".join(_BUDGETS))
    made: Json = {"thinkingBudget": _BUDGETS[effort]} if old else {"thinkingLevel": _LEVELS.get(effort, "HIGH")}
    if effort != "none":
        made["includeThoughts"] = True
    return made


def _tools(chat: Json, dropped: list[str]) -> list[Json]:
    declared: list[Json] = []
    others: list[Json] = []
    for at, kind, function, tool in asking.functions_of(chat):
        if kind == "function":
            declared.append(_declaration(function, at))
        elif kind == "server" and tool.get("vendor") == VENDOR and isinstance(tool.get("tool"), dict):
            others.append(tool["tool"])
        elif f"tools.{kind}" not in dropped:
            dropped.append(f"tools.{kind}")
    if chat.get("web_search_options") is not None:
        others.append({"googleSearch": {}})
    return [{"functionDeclarations": declared}, *others] if declared else others


def _declaration(function: Json, at: str) -> Json:
    made: Json = {"name": function["name"]}
    if function.get("description"):
        made["description"] = function["description"]
    parameters = function.get("parameters")
    if parameters is None or parameters == {}:
        return made
    if not isinstance(parameters, dict):
        raise asking.wrong(f"{at}.function.parameters", "a JSON Schema")
    if parameters.get("type") == "object" and not parameters.get("properties") and "$ref" not in parameters:
        return made  # an object without properties is refused, and says nothing
    reduced = reduce(parameters)
    if reduced is not None:
        made["parameters"] = reduced
    else:
        made["parametersJsonSchema"] = json_schema(parameters)
    return made


def _calling(chat: Json) -> Json:
    mode, only = asking.choice_of(chat)
    if not only:
        return {"mode": _MODES[mode]}
    return {"mode": "VALIDATED" if mode == "auto" else "ANY", "allowedFunctionNames": only}


def _take_google(own: Json, body: Json, config: Json) -> None:
    """``google``: what clients of Google's OpenAI-compatible API send beside OpenAI's fields."""
    pairs: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("thinking_config", "thinkingConfig", config),
        ("safety_settings", "safetySettings", body),
        ("cached_content", "cachedContent", body),
    )
    for name, theirs, place in pairs:
        if own.get(name) is not None:
            value = own[name]
            place[theirs] = {_camel(key): item for key, item in value.items()} if isinstance(value, dict) else value


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
