"""Cohere's chat, version 2."""

from __future__ import annotations

from typing import Any

import orjson

from tests.support.fake_vendors.heard import Heard, parts_of
from tests.support.fake_vendors.said import CACHED, COMPLETION, PROMPT, Said, said

USAGE = {
    "billed_units": {"input_tokens": 2, "output_tokens": COMPLETION},
    "tokens": {"input_tokens": PROMPT, "output_tokens": COMPLETION},
    "cached_tokens": CACHED,
}


def heard(body: dict[str, Any]) -> Heard:
    """What a request says. One function is chosen by offering it alone."""
    parts = {
        role: [part for each in body["messages"] if each["role"] == role for part in parts_of(each["content"])]
        for role in ("system", "user", "tool")
    }
    texts = {role: tuple(part["text"] for part in found if part["type"] == "text") for role, found in parts.items()}
    return Heard(
        system="\n".join(texts["system"]),
        texts=texts["user"],
        results=texts["tool"],
        images=tuple(part["image_url"]["url"] for part in parts["user"] if part["type"] == "image_url"),
        tools=tuple(tool["function"]["name"] for tool in body.get("tools", ())),
        choice=body.get("tool_choice", "AUTO").lower(),
        schema=body.get("response_format", {}).get("json_schema"),
        thinks=body.get("thinking", {}).get("type") == "enabled",
        limit=body.get("max_tokens"),
        temperature=body.get("temperature"),
    )


def _calls(answer: Said, arguments: str) -> list[dict[str, Any]]:
    return [
        {"id": f"{name}0", "type": "function", "function": {"name": name, "arguments": arguments}}
        for name in answer.calls
    ]


def whole(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a chat."""
    asked = heard(body)
    answer = said(asked)
    message: dict[str, Any] = {"role": "assistant"}
    if answer.calls:
        message |= {"tool_plan": "I will look.", "tool_calls": _calls(answer, '{"city":"Rome"}')}
    else:
        message["content"] = [{"type": "text", "text": "".join(answer.pieces)}]
        if asked.thinks:
            message["content"].insert(0, {"type": "thinking", "thinking": "Hm."})
    finish = "TOOL_CALL" if answer.calls else "COMPLETE"
    return {"id": "c1", "finish_reason": finish, "message": message, "usage": USAGE}


def stream(body: dict[str, Any]) -> list[bytes]:
    """The events of a chat."""
    asked = heard(body)
    answer = said(asked)
    events: list[dict[str, Any]] = [{"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant"}}}]
    place = 0
    if asked.thinks and answer.pieces:
        start = {"message": {"content": {"type": "thinking", "thinking": ""}}}
        thought = {"message": {"content": {"thinking": "Hm."}}}
        events.append({"type": "content-start", "index": 0, "delta": start})
        events.append({"type": "content-delta", "index": 0, "delta": thought})
        events.append({"type": "content-end", "index": 0})
        place = 1
    if answer.pieces:
        start = {"message": {"content": {"type": "text", "text": ""}}}
        events.append({"type": "content-start", "index": place, "delta": start})
    for piece in answer.pieces:
        events.append({"type": "content-delta", "index": place, "delta": {"message": {"content": {"text": piece}}}})
    if answer.pieces:
        events.append({"type": "content-end", "index": place})
    if answer.calls:
        events.append({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will look."}}})
    for index, call in enumerate(_calls(answer, "")):
        events.append({"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": call}}})
        for piece in ('{"city":', '"Rome"}'):
            delta = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
            events.append({"type": "tool-call-delta", "index": index, "delta": delta})
        events.append({"type": "tool-call-end", "index": index})
    finish = "TOOL_CALL" if answer.calls else "COMPLETE"
    events.append({"type": "message-end", "delta": {"finish_reason": finish, "usage": USAGE}})
    return [_framed(each) for each in events]


def broken() -> bytes:
    """The event of an error within a stream."""
    return _framed({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "Broke off."}})


def _framed(event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))
