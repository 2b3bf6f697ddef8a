"""``generateContent`` and its relatives, of AI Studio and of Vertex AI."""

from __future__ import annotations

from typing import Any

import orjson

from tests.support.fake_vendors.heard import Heard, data_url
from tests.support.fake_vendors.said import CACHED, COMPLETION, PROMPT, THOUGHTS, said

USAGE = {
    "promptTokenCount": PROMPT,
    "candidatesTokenCount": COMPLETION - THOUGHTS,
    "thoughtsTokenCount": THOUGHTS,
    "cachedContentTokenCount": CACHED,
    "totalTokenCount": PROMPT + COMPLETION,
}


_CHOICES = {"AUTO": "auto", "NONE": "none", "ANY": "required"}


def heard(body: dict[str, Any]) -> Heard:
    """What a request says."""
    parts = [part for content in body["contents"] for part in content["parts"] if content["role"] == "user"]
    spoken = [part for content in body["contents"] for part in content["parts"] if content["role"] == "model"]
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    config = body.get("generationConfig", {})
    only = calling.get("allowedFunctionNames")
    inline = [part["inlineData"] for part in parts if "inlineData" in part]
    return Heard(
        system="\n".join(part["text"] for part in body.get("systemInstruction", {}).get("parts", ())),
        texts=tuple(part["text"] for part in parts if "text" in part),
        results=tuple(_result(part["functionResponse"]["response"]) for part in parts if "functionResponse" in part),
        images=(
            *(data_url(each["mimeType"], each["data"]) for each in inline),
            *(part["fileData"]["fileUri"] for part in parts if "fileData" in part),
        ),
        tools=tuple(each["name"] for tool in body.get("tools", ()) for each in tool.get("functionDeclarations", ())),
        choice=only[0] if only else _CHOICES[calling.get("mode", "AUTO")],
        schema=_lower(config["responseSchema"]) if "responseSchema" in config else config.get("responseJsonSchema"),
        thinks=config.get("thinkingConfig", {}).get("includeThoughts") is True,
        signatures=tuple(part["thoughtSignature"] for part in spoken if "thoughtSignature" in part),
        limit=config.get("maxOutputTokens"),
        temperature=config.get("temperature"),
    )


def _result(response: dict[str, Any]) -> str:
    result = response.get("result")
    return result if isinstance(result, str) else orjson.dumps(response).decode()


def _lower(schema: Any) -> Any:
    """The subset of OpenAPI has JSON Schema's types in capitals."""
    if isinstance(schema, list):
        return [_lower(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else _lower(value)
        for name, value in schema.items()
    }


def _answers(body: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The parts of each event."""
    answer = said(heard(body))
    if answer.calls:
        calls = [{"functionCall": {"name": name, "args": {"city": "Rome"}}} for name in answer.calls]
        return [[{**calls[0], "thoughtSignature": "c2lnbmVk"}, *calls[1:]]]
    *pieces, last = answer.pieces
    told: list[list[dict[str, Any]]] = [[{"text": "Hm.", "thought": True}], *([{"text": piece}] for piece in pieces)]
    return [*told, [{"text": last, "thoughtSignature": "c2lnbmVk"}]]


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


def broken() -> bytes:
    """The event of an error within a stream."""
    return (
        b"data: "
        + orjson.dumps({"error": {"code": 503, "message": "Broke off.", "status": "UNAVAILABLE"}})
        + b"\r\n\r\n"
    )
