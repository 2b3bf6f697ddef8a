"""The provider's HTTP surface: authentication, routing by path, and errors in OpenAI's envelope."""

from __future__ import annotations

import hmac
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.support.fake_openai import chat, endpoints, streams
from tests.support.fake_openai.behaviours import MODELS, Behaviour, behaviour_of
from tests.support.fake_openai.delivery import Delivery
from tests.support.fake_openai.gates import Gates
from tests.support.fake_openai.recording import Recording

RATE_HEADERS = {
    "retry-after": "7",
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "7s",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-tokens": "149984",
}
_SSE = "text/event-stream; charset=utf-8"
_JSON = "application/json"
_seen: dict[bytes, int] = {}

JsonAnswer = Callable[[dict[str, Any]], dict[str, Any]]
ChunkAnswer = Callable[[dict[str, Any]], list[dict[str, Any]]]


def build_app(recording: Recording, gates: Gates, key: str) -> ASGIApp:
    """The ASGI application; it records into ``recording`` and accepts only ``Authorization: Bearer <key>``."""
    routes = [
        Route("/v1/chat/completions", _json_endpoint("messages", chat.completion, chat.chunks), methods=["POST"]),
        Route(
            "/v1/completions",
            _json_endpoint("prompt", endpoints.text_completion, endpoints.text_chunks),
            methods=["POST"],
        ),
        Route("/v1/embeddings", _json_endpoint("input", endpoints.embeddings), methods=["POST"]),
        Route("/v1/moderations", _json_endpoint("input", endpoints.moderation), methods=["POST"]),
        Route("/v1/rerank", _json_endpoint("query", endpoints.rerank), methods=["POST"]),
        Route("/v1/audio/speech", _speech, methods=["POST"]),
        Route("/v1/audio/transcriptions", _transcription, methods=["POST"]),
        Route("/v1/images/generations", _image, methods=["POST"]),
        Route("/v1/images/edits", _image_edit, methods=["POST"]),
        Route("/v1/models", _models),
        Route("/v1/models/{name:path}", _model),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error})

    def refusal(headers: dict[str, str]) -> Response | None:
        if hmac.compare_digest(headers.get("authorization", ""), f"Bearer {key}"):
            return None
        return _error(401, "Incorrect API key provided.", "invalid_api_key")

    return Recorder(app, recording, gates, refusal)


class Recorder:
    """Records the request, reads its body whole, checks the key, then hands over to the routes. ``refusal`` gives what
    a request is refused with by its headers.
    """

    def __init__(
        self, app: ASGIApp, recording: Recording, gates: Gates, refusal: Callable[[dict[str, str]], Response | None]
    ) -> None:
        self._app = app
        self._recording = recording
        self._gates = gates
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = self._recording.started(dict(scope))
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)

        def finish() -> None:
            request.body, request.complete = bytes(body), True

        self._recording.update(finish)
        replay: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again() -> Message:
            return replay.pop() if replay else await receive()

        scope["state"] = {"recorded": request, "gates": self._gates, "recording": self._recording}
        refused = self._refusal(dict(request.headers))
        if refused is not None:
            await refused(scope, again, send)
            return
        await self._app(scope, again, send)


def _json_endpoint(
    needed: str, answer: JsonAnswer, chunks: ChunkAnswer | None = None
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        raw = await request.body()
        try:
            body = json.loads(raw, parse_float=_number)
        except (ValueError, RecursionError):
            return _error(400, "We could not parse the JSON body of your request.", None)
        if not isinstance(body, dict) or not isinstance(body.get("model"), str) or needed not in body:
            return _error(400, f"Missing required parameter: '{needed}'.", "missing_required_parameter", needed)
        behaviour = behaviour_of(body["model"])
        failure = _failure(behaviour, body, raw)
        if failure is not None:
            return failure
        gate = str((body.get("metadata") or {}).get("gate", ""))
        headers = {"x-request-id": "req_provider", "openai-processing-ms": "12", "x-ratelimit-remaining-requests": "59"}
        if chunks is not None and body.get("stream"):
            pieces = streams.events(behaviour, chunks(body))
            return Delivery(behaviour, pieces, media_type=_SSE, streamed=True, gate=gate, headers=headers)
        try:
            pieces = [streams.body(behaviour, answer(body))]
        except RecursionError:  # from Python 3.12 on more can be read than written
            return _error(400, "The JSON body of your request is nested too deeply.", None)
        return Delivery(behaviour, pieces, media_type=_JSON, streamed=False, gate=gate, headers=headers)

    return endpoint


def _failure(behaviour: Behaviour, body: dict[str, Any], raw: bytes) -> Response | None:
    """The error answer that the behaviour asks for, if any."""
    if behaviour.fails:
        _seen[raw] = _seen.get(raw, 0) + 1
        return _error(503, "Overloaded, try again.", "overloaded") if _seen[raw] <= behaviour.fails else None
    if behaviour.status == 200:
        return None
    if behaviour.body is not None:
        return Response(behaviour.body, behaviour.status, RATE_HEADERS, behaviour.content_type)
    error = {
        "message": f"The fake provider answers {behaviour.status} for '{body['model']}'.",
        "type": "fake_error",
        "param": "model",
        "code": f"fake_{behaviour.status}",
        "x_detail": {"one": 1.0},
    }
    return JSONResponse({"error": error}, behaviour.status, RATE_HEADERS)


def _number(literal: str) -> float | str:
    """A float, or the literal itself where a float can't hold it, so that it can be echoed as JSON."""
    value = float(literal)
    return value if math.isfinite(value) else literal


async def _speech(request: Request) -> Response:
    body = await request.json()
    return Delivery(Behaviour(chunked=True), [endpoints.speech(body)], media_type="audio/mpeg", streamed=False, gate="")


async def _transcription(request: Request) -> Response:
    parts = await _parts(request)
    said = endpoints.transcription(parts)
    if parts.get("response_format") == b"text":
        return Response(said["text"] + "\n", media_type="text/plain; charset=utf-8")
    return JSONResponse(said)


async def _image(request: Request) -> Response:
    body = await request.json()
    return JSONResponse(endpoints.image(body["prompt"], body.get("n") or 1))


async def _image_edit(request: Request) -> Response:
    parts = await _parts(request)
    source = parts.get("image", parts.get("image[]", b""))
    return JSONResponse(endpoints.image(parts["prompt"].decode(), int(parts.get("n", b"1")), source))


async def _parts(request: Request) -> dict[str, bytes]:
    try:
        return endpoints.multipart(await request.body(), request.headers.get("content-type", ""))
    except (IndexError, ValueError):
        raise HTTPException(400, "Could not parse multipart form") from None


async def _models(request: Request) -> Response:
    return JSONResponse(endpoints.model_list())


async def _model(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in MODELS:
        return _error(404, f"The model '{name}' does not exist.", "model_not_found", "model")
    return JSONResponse(endpoints.model_card(name))


async def _http_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    return _error(exc.status_code, exc.detail, None)


def _error(status: int, message: str, code: str | None, param: str | None = None) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return JSONResponse({"error": error}, status)
