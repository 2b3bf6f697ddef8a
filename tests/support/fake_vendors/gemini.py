"""``generateContent`` and its relatives, of AI Studio and of Vertex AI."""

from __future__ import annotations

from typing import Any

import orjson

from tests.support.fake_vendors.said import CACHED, COMPLETION, PROMPT, THOUGHTS, said

USAGE = {
    "promptTokenCount": PROMPT,
    "candidatesTokenCount": COMPLETION - THOUGHTS,
    "thoughtsTokenCount": THOUGHTS,
    "cachedContentTokenCount": CACHED,
    "totalTokenCount": PROMPT + COMPLETION,
}


def _answers(body: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The parts of each event."""
    parts = [part for content in body["contents"] for part in content["parts"]]
    texts = [part["text"] for part in parts if "text" in part]
    results = [
        orjson.dumps(part["functionResponse"]["response"]).decode() for part in parts if "functionResponse" in part
    ]
    tools = [each["name"] for tool in body.get("tools", ()) for each in tool.get("functionDeclarations", ())]
    answer = said(texts[-1] if texts else "", tools, results)
    if answer.calls:
        calls = [{"functionCall": {"name": name, "args": {"city": "Rome"}}} for name in answer.calls]
        return [[{**calls[0], "thoughtSignature": "c2lnbmVk"}, *calls[1:]]]
    return [[{"text": "Hm.", "thought": True}], *([{"text": piece}] for piece in answer.pieces)]


def _event(parts: list[dict[str, Any]], model: str, finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": model, "responseId": "resp-1"}


def whole(body: dict[str, Any], model: str) -> dict[str, Any]:
    """The answer to ``generateContent``."""
    return _event([part for parts in _answers(body) for part in parts], model, "STOP")


def stream(body: dict[str, Any], model: str) -> list[bytes]:
    """The events of ``streamGenerateContent?alt=sse``."""
    answers = _answers(body)
    last = len(answers) - 1
    told = [_event(parts, model, "STOP" if place == last else None) for place, parts in enumerate(answers)]
    return [b"data: " + orjson.dumps(event) + b"\r\n\r\n" for event in told]


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to ``batchEmbedContents``: a vector is the length of its text."""
    return {"embeddings": [{"values": [float(len(each["content"]["parts"][0]["text"]))]} for each in body["requests"]]}


def error(status: int, message: str) -> dict[str, Any]:
    """Google's error."""
    words = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED"}
    return {"error": {"code": status, "message": message, "status": words[status]}}
