"""Chat completions as Azure and Mistral have them: OpenAI's, with a first chunk and a last one of their own."""

from __future__ import annotations

from typing import Any

import orjson

from tests.support.fake_vendors.heard import Heard, parts_of
from tests.support.fake_vendors.said import CACHED, COMPLETION, PROMPT, THOUGHTS, Said, said

USAGE = {
    "prompt_tokens": PROMPT,
    "completion_tokens": COMPLETION,
    "total_tokens": PROMPT + COMPLETION,
    "prompt_tokens_details": {"cached_tokens": CACHED},
}
FILTER = {"hate": {"filtered": False, "severity": "safe"}}
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
_COMMON = {"id": "c1", "created": 1_700_000_000, "model": "served"}


def heard(body: dict[str, Any]) -> Heard:
    """What a request of Chat Completions says."""
    parts = {
        role: [part for each in body["messages"] if each["role"] == role for part in parts_of(each["content"])]
        for role in ("system", "user", "tool")
    }
    texts = {role: tuple(part["text"] for part in found if part["type"] == "text") for role, found in parts.items()}
    choice = body.get("tool_choice", "auto")
    return Heard(
        system="\n".join(texts["system"]),
        texts=texts["user"],
        results=texts["tool"],
        images=tuple(part["image_url"]["url"] for part in parts["user"] if part["type"] == "image_url"),
        tools=tuple(tool["function"]["name"] for tool in body.get("tools", ())),
        choice=choice if isinstance(choice, str) else choice["function"]["name"],
        single=body.get("parallel_tool_calls") is False,
        schema=body.get("response_format", {}).get("json_schema", {}).get("schema"),
        thinks=body.get("reasoning_effort") not in (None, "none"),
        limit=body.get("max_completion_tokens", body.get("max_tokens")),
        temperature=body.get("temperature"),
    )


def _usage(asked: Heard) -> dict[str, Any]:
    return {**USAGE, "completion_tokens_details": {"reasoning_tokens": THOUGHTS}} if asked.thinks else USAGE


def _calls(answer: Said) -> list[dict[str, Any]]:
    return [
        {
            "index": place,
            "id": f"call0000{place}",
            "type": "function",
            "function": {"name": name, "arguments": '{"city":"Rome"}'},
        }
        for place, name in enumerate(answer.calls)
    ]


def whole(body: dict[str, Any], azure: bool) -> dict[str, Any]:
    """The answer to a chat."""
    asked = heard(body)
    answer = said(asked)
    text = "".join(answer.pieces)
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if asked.thinks and text and not azure:
        message["content"] = [THOUGHT, {"type": "text", "text": text}]
    if answer.calls:
        message["tool_calls"] = _calls(answer)
    choice: dict[str, Any] = {
        "index": 0,
        "message": message,
        "finish_reason": "tool_calls" if answer.calls else "stop",
    }
    told: dict[str, Any] = {**_COMMON, "object": "chat.completion", "choices": [choice], "usage": _usage(asked)}
    if azure:
        choice["content_filter_results"] = FILTER
        told["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": FILTER}]
    return told


def stream(body: dict[str, Any], azure: bool) -> list[bytes]:
    """The events of a chat. Azure's first chunk has no choices; Mistral's last one has the usage too."""
    asked = heard(body)
    answer = said(asked)
    chunks: list[dict[str, Any]] = []
    if azure:
        results = [{"prompt_index": 0, "content_filter_results": FILTER}]
        chunks.append(
            {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": results}
        )
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if asked.thinks and answer.pieces and not azure:
        deltas.append({"content": [THOUGHT]})
    deltas += [{"content": piece} for piece in answer.pieces]
    if answer.calls:
        deltas.append({"tool_calls": _calls(answer)})
    chunks += [_chunk(delta, None) for delta in deltas]
    last = _chunk({}, "tool_calls" if answer.calls else "stop")
    usage = _usage(asked)
    if azure:
        told = body.get("stream_options", {}).get("include_usage")
        chunks += [last, {**_COMMON, "object": "chat.completion.chunk", "choices": [], "usage": usage}][
            : 2 if told else 1
        ]
    else:
        chunks.append({**last, "usage": usage})
    return [b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]


def fault(message: str, kind: str, code: str) -> dict[str, Any]:
    """An error of Mistral's, which no object holds."""
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def broken(azure: bool) -> bytes:
    """The event of an error within a stream."""
    told: dict[str, Any] = {"message": "Broke off.", "type": "server_error", "param": None, "code": "server_error"}
    return b"data: " + orjson.dumps({"error": told} if azure else fault("Broke off.", "server_error", "3000")) + b"\n\n"


def _chunk(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {**_COMMON, "object": "chat.completion.chunk", "choices": [choice]}
