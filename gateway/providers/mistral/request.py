"""A request of the internal form as Mistral takes it: like OpenAI's, but strict about what it does not know.

Sources: "Chat Completion" in the Mistral API reference; its messages, tools and ids of tool calls ("Function calling").
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Final

import orjson

from gateway.providers import asking
from gateway.providers.base import Json, Question
from gateway.providers.telling import Answer

VENDOR: Final = "mistral"
_SAME: Final = (
    "temperature",
    "top_p",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "n",
    "prediction",
    "parallel_tool_calls",
    "reasoning_effort",
    "tool_choice",
    "prompt_mode",
    "safe_prompt",
    "min_tokens",
    "repetition_penalty",
    "top_k",
    "logprobs",
    "top_logprobs",
    "metadata",
    "prompt_cache_key",
    "service_tier",
    "random_seed",
)
"""Fields that go as they come: OpenAI's, and Mistral's own."""
_OTHERS: Final = ("messages", "max_tokens", "max_completion_tokens", "seed", "response_format", "tools", "thinking")
_KNOWN: Final = frozenset((*_SAME, *_OTHERS))
_DECLARED: Final = ("name", "description", "strict")
_ID: Final = re.compile(r"[a-zA-Z0-9]{9}\Z")
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def body_of(question: Question) -> tuple[bytes, tuple[str, ...], Answer]:
    """The body, what it can't express, and what is remembered."""
    chat, model = question.chat, question.upstream.model
    dropped = asking.unknown(chat, _KNOWN)
    body: Json = {"model": model, "messages": _messages(chat, dropped, _thinks(chat, model))}
    if chat.get("stream") is True:
        body["stream"] = True
    body.update({name: chat[name] for name in _SAME if chat.get(name) is not None})
    limit = asking.max_tokens_of(chat)
    if limit is not None:
        body["max_tokens"] = limit
    if chat.get("seed") is not None:
        body["random_seed"] = chat["seed"]
    if asking.schema_of(chat)[0] != "text":
        body["response_format"] = chat["response_format"]
    _set_effort(chat, body, dropped)
    _set_tools(chat, body, dropped)
    body.update(asking.own_options(chat, VENDOR, dropped))
    encoded = orjson.dumps(body)
    memo = Answer(asking.answer_id(question, encoded), int(question.now), model)
    return encoded, tuple(dict.fromkeys(dropped)), memo


def _thinks(chat: Json, model: str) -> bool:
    return "magistral" in model or chat.get("reasoning_effort") not in (None, "none")


def _set_effort(chat: Json, body: Json, dropped: list[str]) -> None:
    thinking = chat.get("thinking")
    if not isinstance(thinking, dict) or "reasoning_effort" in body:
        return
    if thinking.get("type") == "disabled":
        body["reasoning_effort"] = "none"
    elif "budget_tokens" in thinking:
        body["reasoning_effort"] = "high"
    else:
        dropped.append("thinking")


def call_id(id: str) -> str:
    """An id of a tool call as Mistral takes it: nine letters and digits, out of any other one."""
    if _ID.match(id):
        return id
    number = int.from_bytes(blake2b(id.encode("utf-8", "replace"), digest_size=8).digest())
    made = ""
    for _ in range(9):
        number, digit = divmod(number, 62)
        made += _DIGITS[digit]
    return made


def _messages(chat: Json, dropped: list[str], thinks: bool) -> list[Json]:
    made: list[Json] = []
    for at, role, message in asking.messages_of(chat):
        content = _content(message, at, dropped)
        if role == "assistant":
            made.append(_spoken(message, at, content, thinks))
        elif role == "tool":
            told: Json = {"role": "tool", "tool_call_id": call_id(str(message.get("tool_call_id") or ""))}
            if isinstance(message.get("name"), str):
                told["name"] = message["name"]
            if message.get("is_error") is True:
                content = f"Error: {content}" if isinstance(content, str) else [_text("Error:"), *content]
            made.append({**told, "content": content})
        else:
            made.append({"role": role, "content": content})
    return made


def _spoken(message: Json, at: str, content: Any, thinks: bool) -> Json:
    made: Json = {"role": "assistant", "content": content}
    calls = [
        {
            "id": call_id(id),
            "type": "function",
            "function": {"name": name, "arguments": orjson.dumps(arguments).decode()},
        }
        for id, name, arguments, _ in asking.calls_of(message, at)
    ]
    if calls:
        made["tool_calls"] = calls
    thought = message.get("reasoning_content")
    if thinks and isinstance(thought, str) and thought:
        parts = [_text(content)] if isinstance(content, str) and content else content or []
        made["content"] = [{"type": "thinking", "thinking": [_text(thought)]}, *parts]
    if message.get("prefix") is True:
        made["prefix"] = True
    return made


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _content(message: Json, at: str, dropped: list[str]) -> Any:
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    made: list[Json] = []
    for index, part in enumerate(asking.parts_of(message, at)):
        own = _part(part, f"{at}.content[{index}]")
        if own is None:
            dropped.append(f"messages.content.{part['type']}")
        else:
            made.append(own)
    return made[0]["text"] if len(made) == 1 and made[0]["type"] == "text" else made


def _part(part: Json, at: str) -> Json | None:
    kind = part["type"]
    if kind in ("text", "refusal"):
        return _text(asking.text_of(part, at))
    if kind == "image_url":
        return {"type": "image_url", "image_url": {"url": asking.url_of(part, kind, at)}}
    audio, file = part.get("input_audio"), part.get("file")
    if kind == "input_audio" and isinstance(audio, dict) and isinstance(audio.get("data"), str):
        return {"type": "input_audio", "input_audio": audio["data"]}
    if kind == "file" and isinstance(file, dict):
        if isinstance(file.get("text"), str):
            return _text(file["text"])
        if isinstance(file.get("file_id"), str):
            return {"type": "file", "file_id": file["file_id"]}
        url = file.get("file_data") or file.get("file_url")
        if isinstance(url, str) and ":" in url:
            named = {"document_name": file["filename"]} if isinstance(file.get("filename"), str) else {}
            return {"type": "document_url", "document_url": url, **named}
    return asking.own_block(part, VENDOR)


def _set_tools(chat: Json, body: Json, dropped: list[str]) -> None:
    mode, only = asking.choice_of(chat)
    tools: list[Json] = []
    named = len(only) == 1 and mode == "required"
    for _, kind, function, tool in asking.functions_of(chat):
        if kind == "server" and tool.get("vendor") == VENDOR and isinstance(tool.get("tool"), dict):
            tools.append(tool["tool"])
        elif kind != "function":
            dropped.append(f"tools.{kind}")
        elif named or not only or function["name"] in only:
            told = {name: function[name] for name in _DECLARED if function.get(name) is not None}
            told["parameters"] = function.get("parameters") or {"type": "object", "properties": {}}
            tools.append({"type": "function", "function": told})
    if tools:
        body["tools"] = tools
        if only and not named:
            body["tool_choice"] = mode
    else:
        body.pop("tool_choice", None)
        body.pop("parallel_tool_calls", None)
