"""The provider's HTTP surface. It stores nothing for anybody, and refuses what would have it do so.

Source: OpenAI API reference, "Responses" and "Streaming events".
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.fake_openai.app import Recorder, build_app
from tests.support.fake_openai.server import KEY, FakeOpenAI
from tests.support.fake_responses.answers import response_of
from tests.support.fake_responses.events import ERROR, encoded, events_of
from tests.support.fake_responses.heard import items_of

Json = dict[str, Any]

COUNTED = 1_001
"""Tokens of every item, as it counts."""
FAILS = {"fails": "server_error", "fails-limited": "rate_limit_exceeded", "fails-asked": "invalid_prompt"}
"""Models whose Responses fail, and the code of their error."""
_PACE = 0.01
"""Seconds between the events of an endless stream."""
_SSE = "text/event-stream; charset=utf-8"
_PIECE = "response.output_text.delta"


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
    refused = _refused(body)
    if refused is not None:
        return refused
    response = response_of(body)
    if body["model"] in FAILS:
        response |= {"status": "failed", "error": {"code": FAILS[body["model"]], "message": "It failed."}, "output": []}
    if not body.get("stream"):
        return JSONResponse(response)
    return _stream(response, request)


def _refused(body: Json) -> Response | None:
    if body.get("store") is not False or "previous_response_id" in body:
        return _error(400, "Zero data retention: nothing is stored here.", "invalid_request", "store")
    if body["model"] == "broken":
        return _error(503, "Overloaded.", "overloaded", None)
    if body["model"] == "error-429":
        return _error(429, "The fake provider answers 429 for 'error-429'.", "rate_limit_exceeded", None)
    for i, item in enumerate(items_of(body)):
        if item.get("type") == "reasoning" and not item.get("encrypted_content"):
            return _error(404, f"Item with id '{item['id']}' not found.", "not_found", f"input[{i}]")
    return None


def _stream(response: Json, request: Request) -> Response:
    model, events = response["model"], list(events_of(response))
    if model == "error-event":
        begun = 1 + next(place for place, event in enumerate(events) if event["type"] == _PIECE)
        return Response(encoded([*events[:begun], ERROR]), media_type=_SSE)
    if model == "endless":
        return StreamingResponse(_endless(events), media_type=_SSE)
    if model == "cut":
        return StreamingResponse(_cut(encoded(events), request), media_type=_SSE)
    return Response(encoded(events), media_type=_SSE)


async def _endless(events: list[Json]) -> AsyncIterator[bytes]:
    place = next(place for place, event in enumerate(events) if event["type"] == _PIECE)
    yield encoded(events[: place + 1])
    while True:
        await asyncio.sleep(_PACE)
        place += 1
        piece = next(event for event in events if event["type"] == _PIECE)
        yield encoded([piece], place)


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
    made = response_of(body)
    told = {name: made[name] for name in ("id", "created_at", "usage")}
    return JSONResponse({**told, "object": "response.compaction", "output": [item]})


async def _cut(data: bytes, request: Request) -> AsyncIterator[bytes]:
    """Half of the events; then the connection breaks."""
    yield data[: len(data) // 2]
    await asyncio.sleep(0)
    transport = request.state.recorded.connection.transport
    assert transport is not None
    transport.close()  # what was written arrives before
