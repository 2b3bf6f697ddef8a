"""Cohere's chat, version 2."""

from __future__ import annotations

from typing import Any

import orjson

from tests.support.fake_vendors.said import CACHED, COMPLETION, PROMPT, Said, said

USAGE = {
    "billed_units": {"input_tokens": 2, "output_tokens": COMPLETION},
    "tokens": {"input_tokens": PROMPT, "output_tokens": COMPLETION},
    "cached_tokens": CACHED,
}


def _answer(body: dict[str, Any]) -> Said:
    texts = [each["content"] for each in body["messages"] if each["role"] == "user"]
    results = [each["content"] for each in body["messages"] if each["role"] == "tool"]
    return said(texts[-1], [tool["function"]["name"] for tool in body.get("tools", ())], results)


def _calls(answer: Said, arguments: str) -> list[dict[str, Any]]:
    return [
        {"id": f"{name}0", "type": "function", "function": {"name": name, "arguments": arguments}}
        for name in answer.calls
    ]


def whole(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a chat."""
    answer = _answer(body)
    message: dict[str, Any] = {"role": "assistant"}
    if answer.calls:
        message |= {"tool_plan": "I will look.", "tool_calls": _calls(answer, '{"city":"Rome"}')}
    else:
        message["content"] = [{"type": "text", "text": "".join(answer.pieces)}]
    finish = "TOOL_CALL" if answer.calls else "COMPLETE"
    return {"id": "c1", "finish_reason": finish, "message": message, "usage": USAGE}


def stream(body: dict[str, Any]) -> list[bytes]:
    """The events of a chat."""
    answer = _answer(body)
    events: list[dict[str, Any]] = [{"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant"}}}]
    if answer.pieces:
        start = {"message": {"content": {"type": "text", "text": ""}}}
        events.append({"type": "content-start", "index": 0, "delta": start})
    for piece in answer.pieces:
        events.append({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": piece}}}})
    for index, call in enumerate(_calls(answer, "")):
        events.append({"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": call}}})
        for piece in ('{"city":', '"Rome"}'):
            delta = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
            events.append({"type": "tool-call-delta", "index": index, "delta": delta})
        events.append({"type": "tool-call-end", "index": index})
    finish = "TOOL_CALL" if answer.calls else "COMPLETE"
    events.append({"type": "message-end", "delta": {"finish_reason": finish, "usage": USAGE}})
    return [b"event: %b\ndata: %b\n\n" % (each["type"].encode(), orjson.dumps(each)) for each in events]
