"""A request of the internal form as one of the Messages API."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from gateway.providers.anthropic.messages import Conversation
from gateway.providers.anthropic.models import Abilities, abilities_of
from gateway.providers.anthropic.thinking import set_thinking
from gateway.providers.anthropic.tools import set_tools
from gateway.providers.base import Json, Question

VENDOR: Final = "anthropic"
ANSWER_TOOL: Final = "structured_answer"
"""The tool by which an older model is made to answer in JSON."""

# Fields with a translation, and hints without which an answer is no other.
_KNOWN: Final = frozenset(
    [
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "thinking",
        "user",
        "metadata",
        "service_tier",
        "cache_control",
        "provider_options",
        "store",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
    ]
)
# What these say is what Anthropic does in any case.
_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "functions": ([],),
    "function_call": ("none", "auto"),
}
_TIERS: Final = {"auto": "auto", "default": "standard_only"}


class Memo(NamedTuple):
    """What reading the answer takes: when it was asked for, in Unix seconds, and the tool that stands for JSON."""

    created: int
    answer_tool: str | None = None


def body_of(question: Question) -> tuple[Json, tuple[str, ...], Memo]:
    """The body, what it can't express, and what must be remembered."""
    chat = question.chat
    abilities = abilities_of(question.upstream.model)
    dropped: dict[str, None] = {}
    conversation = Conversation(dropped, abilities.system_turns)
    conversation.add(chat.get("messages") or ())
    body: Json = {"model": question.upstream.model, "max_tokens": 0, "messages": conversation.messages}
    if conversation.system:
        body["system"] = conversation.system_prompt()
    given = chat.get("max_completion_tokens") or chat.get("max_tokens")
    body["max_tokens"] = given or question.upstream.max_tokens or abilities.max_tokens
    if chat.get("stream"):
        body["stream"] = True
    set_tools(chat, body, dropped)
    set_thinking(chat, body, dropped, abilities)
    answer_tool = _set_format(chat, body, dropped, abilities)
    _set_sampling(chat, body, dropped, abilities)
    _set_rest(chat, body, dropped)
    return body, tuple(dropped), Memo(int(question.now), answer_tool)


def _set_format(chat: Json, body: Json, dropped: dict[str, None], abilities: Abilities) -> str | None:
    """Structured output: by the API's own format where the model has it, else by a tool that must be called."""
    wanted = chat.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind in (None, "text") or not isinstance(wanted, dict):
        return None
    schema: Any = {"type": "object", "additionalProperties": True}
    described = None
    if kind == "json_schema":
        given = wanted.get("json_schema") or {}
        schema, described = given.get("schema") or schema, given.get("description")
        if abilities.formats and given.get("schema"):
            body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}
            return None
    elif kind != "json_object":
        dropped["response_format"] = None
        return None
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    if body.get("tools") or thinks or not _is_object(schema):
        dropped["response_format"] = None  # a forced tool goes with neither, and takes nothing but an object
        return None
    described = described or "Give the whole answer as the input of this tool: one JSON object."
    body["tools"] = [{"name": ANSWER_TOOL, "description": described, "input_schema": schema}]
    body["tool_choice"] = {"type": "tool", "name": ANSWER_TOOL, "disable_parallel_tool_use": True}
    return ANSWER_TOOL


def _is_object(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "object"


def _set_sampling(chat: Json, body: Json, dropped: dict[str, None], abilities: Abilities) -> None:
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive") and "thinking" not in chat
    for name in ("temperature", "top_p", "top_k"):
        value = chat.get(name)
        if value is None or (value == 1 and name != "top_k"):
            continue
        if not abilities.samples or (thinks and name != "top_p"):
            dropped[name] = None
        elif name == "temperature" and value > 1:
            dropped[name] = None  # OpenAI's goes to 2
            body[name] = 1
        else:
            body[name] = value


def _set_rest(chat: Json, body: Json, dropped: dict[str, None]) -> None:
    stop = chat.get("stop")
    if stop:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    user = (chat.get("metadata") or {}).get("user_id") or chat.get("user") or chat.get("safety_identifier")
    if user:
        body["metadata"] = {"user_id": user}
    tier = chat.get("service_tier")
    if tier in _TIERS:
        body["service_tier"] = _TIERS[tier]
    elif tier is not None:
        dropped["service_tier"] = None
    if chat.get("cache_control"):
        body["cache_control"] = chat["cache_control"]
    if chat.get("store"):
        dropped["store"] = None
    for vendor, options in (chat.get("provider_options") or {}).items():
        if vendor == VENDOR:
            for name, value in options.items():
                body[name] = {**body[name], **value} if name == "output_config" and name in body else value
        else:
            dropped[f"provider_options.{vendor}"] = None
    for name, value in chat.items():
        if name not in _KNOWN and value is not None and value not in _NEUTRAL.get(name, ()):
            dropped[name] = None
