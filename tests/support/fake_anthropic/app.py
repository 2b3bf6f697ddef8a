"""The provider's HTTP surface: ``x-api-key``, the version, and errors in Anthropic's envelope."""

from __future__ import annotations

import hmac
import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tests.support.fake_anthropic.answers import input_tokens, message
from tests.support.fake_anthropic.events import events
from tests.support.fake_anthropic.rules import fault
from tests.support.fake_openai.app import Recorder
from tests.support.fake_openai.behaviours import behaviour_of
from tests.support.fake_openai.delivery import Delivery
from tests.support.fake_openai.gates import Gates
from tests.support.fake_openai.recording import Recording

VERSIONS = ("2023-06-01", "2026-10-21")
REQUEST_ID = "req_011CSHoEeqs5C35K2UUqR7Fy"
_HEADERS = {"request-id": REQUEST_ID, "anthropic-organization-id": "org"}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
PAGE = 2
"""Models of one page, whatever more is asked for."""
MODELS: list[dict[str, Any]] = [
    {
        "type": "model",
        "id": name,
        "display_name": name.title(),
        "created_at": "2025-02-19T00:00:00Z",
        "max_input_tokens": tokens,
        "max_tokens": 64_000,
        "capabilities": {"image_input": {"supported": True}, "structured_outputs": {"supported": tokens > 200_000}},
    }
    for name, tokens in (("claude-fake", 1_000_000), ("claude-other", 200_000), ("claude-old", 200_000))
]
_seen: dict[bytes, int] = {}


def build_app(recording: Recording, gates: Gates, key: str) -> ASGIApp:
    """The ASGI application; it records into ``recording`` and takes only ``key``, as ``x-api-key`` or bearer token."""

    def refusal(headers: dict[str, str]) -> Response | None:
        given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given, key):
            return _error(401, "invalid x-api-key")
        if headers.get("anthropic-version") not in VERSIONS:
            return _error(400, "anthropic-version: header is required")
        return None

    routes = [
        Route("/v1/messages", _messages, methods=["POST"]),
        Route("/v1/messages/count_tokens", _count, methods=["POST"]),
        Route("/v1/models", _models),
    ]
    return Recorder(Starlette(routes=routes), recording, gates, refusal)


async def _messages(request: Request) -> Response:
    raw = await request.body()
    body: Any = json.loads(raw)
    wrong = fault(body)
    if wrong is not None:
        return _error(400, wrong)
    behaviour = behaviour_of(body["model"])
    if behaviour.fails:
        _seen[raw] = _seen.get(raw, 0) + 1
        if _seen[raw] <= behaviour.fails:
            return _error(529, "Overloaded")
    if behaviour.body is not None:
        return Response(behaviour.body, behaviour.status, media_type=behaviour.content_type)
    if behaviour.status != 200:
        return _error(behaviour.status, f"The fake provider answers {behaviour.status} for '{body['model']}'.")
    gate = str(body.get("metadata", {}).get("user_id", ""))
    answer = message(body)
    if body.get("stream"):
        kind = "text/event-stream; charset=utf-8"
        pieces = events(behaviour, answer)
        return Delivery(behaviour, pieces, media_type=kind, streamed=True, gate=gate, headers=_HEADERS)
    pieces = [json.dumps(answer).encode()]
    return Delivery(behaviour, pieces, media_type="application/json", streamed=False, gate=gate, headers=_HEADERS)


async def _count(request: Request) -> Response:
    body = await request.json()
    wrong = fault(body, counting=True)
    return _error(400, wrong) if wrong is not None else JSONResponse({"input_tokens": input_tokens(body)})


async def _models(request: Request) -> Response:
    names = [model["id"] for model in MODELS]
    after = request.query_params.get("after_id")
    begin = names.index(after) + 1 if after in names else 0
    shown = MODELS[begin : begin + min(PAGE, int(request.query_params.get("limit", "20")))]
    body = {
        "data": shown,
        "has_more": begin + len(shown) < len(MODELS),
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }
    return JSONResponse(body, headers=_HEADERS)


def _error(status: int, text: str) -> Response:
    error = {"type": _TYPES.get(status, "api_error"), "message": text}
    headers = {**_HEADERS, "retry-after": "7"} if status == 429 else _HEADERS
    return JSONResponse({"type": "error", "error": error, "request_id": REQUEST_ID}, status, headers)
