"""Chat completions on the wire, in the exact object forms of OpenAI's API reference, plain and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.fake_openai.answers import Reply, digest, logprobs, reply, tokens, usage

CREATED = 1_760_000_000
_KNOWN = frozenset(
    [
        "messages",
        "model",
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    ]
)


def completion(body: dict[str, Any]) -> dict[str, Any]:
    """The ``chat.completion`` object; unknown request fields come back in ``x_echo``."""
    replies = _replies(body)
    return {
        **_head(body, "chat.completion"),
        "choices": [_choice(body, index, each) for index, each in enumerate(replies)],
        "usage": usage(body, replies),
        **_tail(body),
    }


def chunks(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The ``chat.completion.chunk`` objects in order; usage only where ``stream_options.include_usage`` asks for it.

    Where it asks, every other chunk carries ``"usage": null`` and a last chunk with no choices carries the figures.
    """
    replies = _replies(body)
    asked = bool((body.get("stream_options") or {}).get("include_usage"))
    head, tail = _head(body, "chat.completion.chunk"), _tail(body)
    nothing: dict[str, Any] = {"usage": None} if asked else {}
    out = [
        {**head, "choices": [choice], **nothing, **tail}
        for index, each in enumerate(replies)
        for choice in _deltas(body, index, each)
    ]
    if asked:
        out.append({**head, "choices": [], "usage": usage(body, replies), **tail})
    return out


def _replies(body: dict[str, Any]) -> list[Reply]:
    return [reply(body, index) for index in range(body.get("n") or 1)]


def _head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-" + digest(body["messages"]), "object": kind, "created": CREATED, "model": body["model"]}


def _tail(body: dict[str, Any]) -> dict[str, Any]:
    unknown = {name: value for name, value in body.items() if name not in _KNOWN}
    echo: dict[str, Any] = {"x_echo": unknown} if unknown else {}
    return {"service_tier": "default", "system_fingerprint": "fp_fake", **echo}


def _choice(body: dict[str, Any], index: int, each: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": each.text,
        "refusal": each.refusal,
        "annotations": [],
    }
    if each.calls:
        message["tool_calls"] = [_call(*call) for call in each.calls]
    shown = None
    if body.get("logprobs") and each.text is not None:
        top = body.get("top_logprobs") or 0
        shown = {"content": [logprobs(piece, top) for piece in tokens(each.text)], "refusal": None}
    return {"index": index, "message": message, "logprobs": shown, "finish_reason": each.finish}


def _call(identifier: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def _deltas(body: dict[str, Any], index: int, each: Reply) -> Iterator[dict[str, Any]]:
    def choice(delta: dict[str, Any], shown: Any = None, finish: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": shown, "finish_reason": finish}

    opening = {"role": "assistant", "content": None if each.calls else "", "refusal": None}
    yield choice(opening)
    for piece in tokens(each.text or ""):
        shown = {"content": [logprobs(piece, body.get("top_logprobs") or 0)], "refusal": None}
        yield choice({"content": piece}, shown if body.get("logprobs") else None)
    for piece in tokens(each.refusal or ""):
        yield choice({"refusal": piece})
    for position, (identifier, name, arguments) in enumerate(each.calls):
        yield choice({"tool_calls": [{"index": position, **_call(identifier, name, "")}]})
        for start in range(0, len(arguments), 5):
            part = {"index": position, "function": {"arguments": arguments[start : start + 5]}}
            yield choice({"tool_calls": [part]})
    yield choice({}, None, each.finish)
