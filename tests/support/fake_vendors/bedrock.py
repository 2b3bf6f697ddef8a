"""Converse and ConverseStream; the signature of a call is checked by botocore's own signer."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from unittest.mock import patch

import orjson
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.providers.bedrock.eventstream import encode
from tests.support.fake_vendors.heard import Heard, data_url
from tests.support.fake_vendors.said import CACHED, COMPLETION, PROMPT, said

USAGE = {
    "inputTokens": PROMPT - CACHED,
    "outputTokens": COMPLETION,
    "totalTokens": PROMPT + COMPLETION,
    "cacheReadInputTokens": CACHED,
    "cacheWriteInputTokens": 0,
}


def is_signed(
    url: str, headers: dict[str, str], body: bytes, access_key: str, secret_key: str, method: str = "POST"
) -> bool:
    """Whether a request carries the signature that botocore makes of it."""
    given = headers.get("authorization", "")
    if not given.startswith("AWS4-HMAC-SHA256 "):
        return False
    names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    signed = {name: headers[name] for name in names if name not in ("host", "x-amz-date")}
    request = AWSRequest(method, url, headers=signed, data=body)
    at = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
    with patch("botocore.auth.get_current_datetime", lambda *_: at):
        SigV4Auth(Credentials(access_key, secret_key), "bedrock", "us-east-1").add_auth(request)
    return bool(request.headers["Authorization"] == given)


def heard(body: dict[str, Any]) -> Heard:
    """What a request says."""
    blocks = [block for message in body["messages"] for block in message["content"]]
    spoken = [block for message in body["messages"] if message["role"] == "assistant" for block in message["content"]]
    asked = [block for message in body["messages"] if message["role"] == "user" for block in message["content"]]
    (choice,) = body.get("toolConfig", {}).get("toolChoice", {"auto": {}}).items()
    config, more = body.get("inferenceConfig", {}), body.get("additionalModelRequestFields", {})
    form = body.get("outputConfig", {}).get("textFormat", {}).get("structure", {}).get("jsonSchema")
    thoughts = [block["reasoningContent"]["reasoningText"] for block in spoken if "reasoningContent" in block]
    return Heard(
        system="\n".join(block["text"] for block in body.get("system", ())),
        texts=tuple(block["text"] for block in asked if "text" in block),
        results=tuple(
            each["text"]
            for block in blocks
            for each in block.get("toolResult", {}).get("content", ())
            if "text" in each
        ),
        images=tuple(
            data_url(f"image/{block['image']['format']}", block["image"]["source"]["bytes"])
            for block in asked
            if "image" in block
        ),
        tools=tuple(tool["toolSpec"]["name"] for tool in body.get("toolConfig", {}).get("tools", ())),
        choice={"auto": "auto", "any": "required"}.get(choice[0]) or choice[1]["name"],
        schema=None if form is None else orjson.loads(form["schema"]),
        thinks=more.get("thinking", {}).get("type") in ("enabled", "adaptive"),
        signatures=tuple(thought["signature"] for thought in thoughts),
        limit=config.get("maxTokens"),
        temperature=config.get("temperature"),
    )


def whole(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to Converse."""
    answer = said(heard(body))
    content: list[dict[str, Any]] = [{"text": "".join(answer.pieces)}] if answer.pieces else []
    content += [
        {"toolUse": {"toolUseId": f"tooluse_{name}", "name": name, "input": {"city": "Rome"}}} for name in answer.calls
    ]
    if answer.pieces:
        thought = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2lnbmVk"}}}
        content.insert(0, thought)
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": "tool_use" if answer.calls else "end_turn",
        "usage": USAGE,
        "metrics": {"latencyMs": 1},
    }


def stream(body: dict[str, Any]) -> list[bytes]:
    """The messages of ConverseStream."""
    answer = said(heard(body))
    events: list[tuple[str, dict[str, Any]]] = [("messageStart", {"role": "assistant"})]
    if answer.pieces:
        for delta in ({"text": "Hm."}, {"signature": "c2lnbmVk"}):
            events.append(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": delta}}))
        events.append(("contentBlockStop", {"contentBlockIndex": 0}))
    for piece in answer.pieces:
        events.append(("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": piece}}))
    for index, name in enumerate(answer.calls, 2):
        start = {"toolUse": {"toolUseId": f"tooluse_{name}", "name": name}}
        events.append(("contentBlockStart", {"contentBlockIndex": index, "start": start}))
        for piece in ('{"city":', '"Rome"}'):
            events.append(("contentBlockDelta", {"contentBlockIndex": index, "delta": {"toolUse": {"input": piece}}}))
        events.append(("contentBlockStop", {"contentBlockIndex": index}))
    events.append(("messageStop", {"stopReason": "tool_use" if answer.calls else "end_turn"}))
    events.append(("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}}))
    return [
        encode({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, orjson.dumps(told))
        for kind, told in events
    ]


def broken() -> bytes:
    """The message of an exception within a stream."""
    headers = {":exception-type": "serviceUnavailableException", ":content-type": "application/json"}
    return encode({**headers, ":message-type": "exception"}, orjson.dumps({"message": "Broke off."}))
