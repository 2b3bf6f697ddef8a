"""A fake provider that has OpenAI's Responses beside Chat Completions, and stores nothing for anybody.

It answers with how many items it was asked and the text of the last one; asked for ``web_search`` it searches first,
asked for ``reasoning`` it thinks. Source: OpenAI API reference, "Responses" and "Streaming events".
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.fake_openai.app import Recorder, build_app
from tests.support.fake_openai.server import KEY, FakeOpenAI

Json = dict[str, Any]

COUNTED = 1_001
"""Tokens of every item, as it counts."""
FAILS = {"fails": "server_error", "fails-limited": "rate_limit_exceeded", "fails-asked": "invalid_prompt"}
"""Models whose Responses fail, and the code of their error."""


class FakeResponses(FakeOpenAI):
    """A provider at ``base_url``."""

    def build(self) -> ASGIApp:
        """The application."""
        own = Recorder(
            Starlette(
                routes=[
                    Route("/v1/responses", _create, methods=["POST"]),
                    Route("/v1/responses/compact", _compact, methods=["POST"]),
                    Route("/v1/responses/input_tokens", _count, methods=["POST"]),
                ]
            ),
            self.recording,
            self.gates,
            _refusal,
        )
        others = build_app(self.recording, self.gates, KEY)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            asked = own if str(scope.get("path")).startswith("/v1/responses") else others
            await asked(scope, receive, send)

        return app


def _refusal(headers: dict[str, str]) -> Response | None:
    if hmac.compare_digest(headers.get("authorization", ""), f"Bearer {KEY}"):
        return None
    return _error(401, "Incorrect API key provided.", "invalid_api_key", None)


def _error(status: int, message: str, code: str, param: str | None) -> Response:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
    return JSONResponse(body, status)


async def _create(request: Request) -> Response:
    body = await request.json()
    if body.get("store") is not False or "previous_response_id" in body:
        return _error(400, "Zero data retention: nothing is stored here.", "invalid_request", "store")
    if body["model"] == "broken":
        return _error(503, "Overloaded.", "overloaded", None)
    items = body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]
    for i, item in enumerate(items):
        if item.get("type") == "reasoning" and not item.get("encrypted_content"):
            return _error(404, f"Item with id '{item['id']}' not found.", "not_found", f"input[{i}]")
    response = _response(body, items)
    if body["model"] in FAILS:
        response |= {"status": "failed", "error": {"code": FAILS[body["model"]], "message": "It failed."}, "output": []}
    if not body.get("stream"):
        return JSONResponse(response)
    events = list(_events(response))
    data = b"".join(
        b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each | {"sequence_number": n}).encode())
        for n, each in enumerate(events)
    )
    if body["model"] == "cut":
        return StreamingResponse(_cut(data, request), media_type="text/event-stream")
    return Response(data, media_type="text/event-stream")


async def _count(request: Request) -> Response:
    body = await request.json()
    if "store" in body:
        return _error(400, "Unknown parameter: 'store'.", "unknown_parameter", "store")
    items = body["input"] if isinstance(body["input"], list) else [body["input"]]
    return JSONResponse({"object": "response.input_tokens", "input_tokens": COUNTED * len(items)})


async def _compact(request: Request) -> Response:
    body = await request.json()
    if "store" in body:
        return _error(400, "Unknown parameter: 'store'.", "unknown_parameter", "store")
    item = {"id": "cmp_1", "type": "compaction", "encrypted_content": "gAAAA-compacted"}
    made = _response({**body, "input": body["input"]}, [{"content": ""}])
    told = {name: made[name] for name in ("id", "created_at", "usage")}
    return JSONResponse({**told, "object": "response.compaction", "output": [item]})


async def _cut(data: bytes, request: Request) -> AsyncIterator[bytes]:
    """Half of the events; then the connection breaks."""
    yield data[: len(data) // 2]
    await asyncio.sleep(0)
    transport = request.state.recorded.connection.transport
    assert transport is not None
    transport.close()  # what was written arrives before


def _response(body: Json, items: list[Json]) -> Json:
    mark = hashlib.sha256(json.dumps(body).encode()).hexdigest()[:48]
    content = items[-1].get("content") or items[-1].get("output")
    last = content if isinstance(content, str) else (content or [{}])[0].get("text", "")
    output: list[Json] = []
    if body.get("reasoning"):
        thought: Json = {"id": f"rs_{mark}", "type": "reasoning", "summary": [], "status": "completed"}
        if "reasoning.encrypted_content" in (body.get("include") or ()):
            thought["encrypted_content"] = "gAAAA-encrypted"
        output.append(thought)
    if any(tool["type"] == "web_search" for tool in body.get("tools") or ()):
        action = {"type": "search", "query": last}
        output.append({"id": f"ws_{mark}", "type": "web_search_call", "status": "completed", "action": action})
    text = {"type": "output_text", "annotations": [], "logprobs": [], "text": f"{len(items)} items; {last}"}
    message = {"id": f"msg_{mark}", "type": "message", "status": "completed", "role": "assistant", "content": [text]}
    return {
        "id": f"resp_{mark}",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": body["model"],
        "output": [*output, message],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
        "store": False,
        "temperature": 1.0,
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 40,
            "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
            "output_tokens": 12,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 52,
        },
    }


def _events(response: Json) -> Any:
    running = response | {"status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": running}
    yield {"type": "response.in_progress", "response": running}
    for index, item in enumerate(response["output"]):
        place = {"output_index": index}
        begun = item | {"status": "in_progress"} | ({"content": []} if "content" in item else {})
        yield {"type": "response.output_item.added", **place, "item": begun}
        if item["type"] == "message":
            yield from _text(item, place | {"item_id": item["id"], "content_index": 0})
        yield {"type": "response.output_item.done", **place, "item": item}
    yield {"type": f"response.{response['status']}", "response": response}


def _text(item: Json, place: Json) -> Any:
    (part,) = item["content"]
    yield {"type": "response.content_part.added", **place, "part": part | {"text": ""}}
    for word in part["text"].split(" "):
        piece = word if part["text"].startswith(word) else f" {word}"
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}
