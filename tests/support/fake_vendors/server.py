"""All vendors on one port, each below its own name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import jwt
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from tests.support.fake_openai.app import Recorder
from tests.support.fake_openai.server import FakeOpenAI
from tests.support.fake_vendors import bedrock, cohere, gemini, lists, media, openai_like
from tests.support.fake_vendors.said import BEGINNING

KEY = "fake-vendor-key"
TOKEN = "fake-access-token"
ACCESS_KEY, SECRET_KEY = "AKIDFAKE", "fake-secret-key"
TENANT, CLIENT, SECRET = "tenant", "client", "fake-client-secret"
FAILS, BREAKS, ENDLESS = "fails", "breaks", "endless"
"""Models that refuse, whose streams end in an error, and whose streams do not end."""
_PACE = 0.01
"""Seconds between the events of an endless stream."""


class Asked(NamedTuple):
    """One request that came."""

    path: str
    query: str
    headers: dict[str, str]
    body: Any


class FakeVendors(FakeOpenAI):
    """Providers from :meth:`start` to :meth:`stop`. ``asked`` are the requests so far; ``account_key`` is the public
    key that assertions for tokens are held against; ``listed`` is what each lists as its models.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        self.account_key: Any = None
        self.listed = {
            "gemini": list(lists.GEMINI),
            "cohere": list(lists.COHERE),
            "mistral": list(lists.MISTRAL),
            "like": list(lists.ROUTER),
            "bedrock": list(lists.BEDROCK),
        }
        self._lock = threading.Lock()

    @property
    def root(self) -> str:
        """Where all of them are."""
        return self.base_url.removesuffix("/v1")

    def build(self) -> ASGIApp:
        """The application."""
        post = ["POST"]
        app = Starlette(
            routes=[
                Route("/gemini/models", self._list),
                Route("/cohere/v1/models", self._list),
                Route("/mistral/v1/models", self._list),
                Route("/like/models", self._list),
                Route("/bedrock/foundation-models", self._list),
                Route("/gemini/models/{call}", self._gemini, methods=post),
                Route("/vertex/models/{call}", self._gemini, methods=post),
                Route("/vertex/publishers/google/models/{call}", self._gemini, methods=post),
                Route("/google/token", self._google_token, methods=post),
                Route(f"/entra/{TENANT}/oauth2/v2.0/token", self._entra_token, methods=post),
                Route("/bedrock/model/{model}/{method}", self._bedrock, methods=post),
                Route("/cohere/v2/chat", self._cohere, methods=post),
                Route("/cohere/v2/{other}", self._cohere_other, methods=post),
                Route("/mistral/v1/chat/completions", self._mistral, methods=post),
                Route("/mistral/v1/{other:path}", self._mistral_other, methods=post),
                Route("/azure/deployments/{model}/chat/completions", self._azure, methods=post),
                Route("/azure/deployments/{model}/{other:path}", self._azure_other, methods=post),
                Route("/like/chat/completions", self._like, methods=post),
            ]
        )
        return Recorder(app, self.recording, self.gates, lambda _: None)

    async def _taken(self, request: Request) -> tuple[dict[str, Any], bytes]:
        raw = await request.body()
        kind = request.headers.get("content-type", "")
        body: Any
        if kind.startswith("application/x-www-form-urlencoded"):
            body = {name: values[0] for name, values in parse_qs(raw.decode()).items()}
        else:
            body = media.form(kind, raw) if kind.startswith("multipart/") else orjson.loads(raw)
        with self._lock:
            self.asked.append(Asked(request.url.path, request.url.query, dict(request.headers), body))
        return body, raw

    async def _list(self, request: Request) -> Response:
        with self._lock:
            self.asked.append(Asked(request.url.path, request.url.query, dict(request.headers), None))
        vendor = request.url.path.split("/")[1]
        url, headers = self.root + request.url.path, dict(request.headers)
        if vendor == "bedrock":
            known = bedrock.is_signed(url, headers, b"", ACCESS_KEY, SECRET_KEY, "GET")
        else:
            known = KEY in (headers.get("authorization", "").removeprefix("Bearer "), headers.get("x-goog-api-key"))
        if not known:
            return JSONResponse({"message": "Who are you?"}, 401)
        listed, query = self.listed[vendor], request.query_params
        if vendor == "gemini":
            return JSONResponse(lists.page(listed, query, "models", "pageToken", "nextPageToken"))
        if vendor == "cohere":
            return JSONResponse(lists.page(listed, query, "models", "page_token", "next_page_token"))
        if vendor == "bedrock":
            return JSONResponse({"modelSummaries": listed})
        return JSONResponse({"object": "list", "data": listed})

    async def _gemini(self, request: Request) -> Response:
        body, _ = await self._taken(request)
        model, _, method = request.path_params["call"].rpartition(":")
        is_vertex = request.url.path.startswith("/vertex")
        key = request.headers.get("x-goog-api-key")
        if key != KEY and not (is_vertex and request.headers.get("authorization") == f"Bearer {TOKEN}"):
            return JSONResponse(gemini.error(401, "Who are you?"), 401)
        if model == FAILS:
            return JSONResponse([gemini.error(429, "Too much.")], 429)
        if method == "batchEmbedContents":
            return JSONResponse(gemini.embeddings(body))
        if method == "predict":
            return JSONResponse(media.predicted(body))
        other = media.generated(body, model) if method == "generateContent" else None
        if other is not None:
            return JSONResponse(other)
        if method == "streamGenerateContent":
            return _stream(gemini.stream(body, model), "text/event-stream", model, gemini.broken())
        return JSONResponse(gemini.whole(body, model))

    async def _google_token(self, request: Request) -> Response:
        body, _ = await self._taken(request)
        try:
            jwt.decode(body["assertion"], self.account_key, ["RS256"], audience=f"{self.root}/google/token")
        except jwt.PyJWTError as error:
            return JSONResponse({"error": "invalid_grant", "error_description": str(error)}, 400)
        return JSONResponse({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"})

    async def _entra_token(self, request: Request) -> Response:
        body, _ = await self._taken(request)
        if (body["client_id"], body["client_secret"]) != (CLIENT, SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        return JSONResponse({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"})

    async def _bedrock(self, request: Request) -> Response:
        body, raw = await self._taken(request)
        url = self.root + request.scope["raw_path"].decode()
        if not bedrock.is_signed(url, dict(request.headers), raw, ACCESS_KEY, SECRET_KEY):
            return JSONResponse({"message": "The request signature we calculated does not match."}, 403)
        model = request.path_params["model"]
        if model == FAILS:
            return JSONResponse({"message": "Too much."}, 429, {"x-amzn-errortype": "ThrottlingException"})
        if request.path_params["method"] == "invoke":
            return JSONResponse(media.invoked(model, body), headers={"x-amzn-bedrock-input-token-count": "7"})
        if request.path_params["method"] == "converse-stream":
            events = bedrock.stream(body)
            return _stream(events, "application/vnd.amazon.eventstream", model, bedrock.broken())
        return JSONResponse(bedrock.whole(body))

    async def _cohere(self, request: Request) -> Response:
        body, _ = await self._taken(request)
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"message": "invalid api token"}, 401)
        if body["model"] == FAILS:
            return JSONResponse({"message": "Too much."}, 429)
        if body.get("stream"):
            return _stream(cohere.stream(body), "text/event-stream", body["model"], cohere.broken())
        return JSONResponse(cohere.whole(body))

    async def _cohere_other(self, request: Request) -> Response:
        body, _ = await self._taken(request)
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"message": "invalid api token"}, 401)
        return JSONResponse(media.of_cohere(request.url.path, body))

    async def _mistral_other(self, request: Request) -> Response:
        body, _ = await self._taken(request)
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"detail": "Unauthorized"}, 401)
        return JSONResponse(media.of_mistral(request.url.path, body))

    async def _azure_other(self, request: Request) -> Response:
        body, _ = await self._taken(request)
        bearer = request.headers.get("authorization") == f"Bearer {TOKEN}"
        if "api-version=" not in request.url.query or not (bearer or request.headers.get("api-key") == KEY):
            return JSONResponse({"error": {"code": "401", "message": "Access denied."}}, 401)
        other = request.path_params["other"]
        if other == "audio/speech":
            return Response(f"{body['input']} {body['voice']}".encode(), media_type="audio/mpeg")
        if other == "audio/transcriptions":
            return JSONResponse({"text": f"heard {body['file'].decode()}", "usage": {"type": "duration", "seconds": 3}})
        if other.startswith("images/"):
            said = media.encoded(f"{body['prompt']} {request.path_params['model']}")
            return JSONResponse({"created": 1, "data": [{"b64_json": said}]})
        return JSONResponse(media.of_openai(body))

    async def _mistral(self, request: Request) -> Response:
        body, _ = await self._taken(request)
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"detail": "Unauthorized"}, 401)
        if body["model"] == FAILS:
            return JSONResponse(openai_like.fault("Too much.", "rate_limited", "1300"), 429)
        if body.get("stream"):
            events, broken = openai_like.stream(body, azure=False), openai_like.broken(azure=False)
            return _stream(events, "text/event-stream", body["model"], broken)
        return JSONResponse(openai_like.whole(body, azure=False))

    async def _azure(self, request: Request) -> Response:
        body, _ = await self._taken(request)
        bearer = request.headers.get("authorization") == f"Bearer {TOKEN}"
        known = request.headers.get("api-key") == KEY or bearer
        return self._chat(body, known and "api-version=" in request.url.query, request.path_params["model"])

    async def _like(self, request: Request) -> Response:
        body, _ = await self._taken(request)
        known = KEY in (
            request.headers.get("authorization", "").removeprefix("Bearer "),
            request.headers.get("x-portkey-api-key"),
        )
        return self._chat(body, known, body["model"])

    def _chat(self, body: dict[str, Any], known: bool, model: str) -> Response:
        if not known:
            return JSONResponse({"error": {"message": "Who are you?", "type": "x", "param": None, "code": "401"}}, 401)
        if model == FAILS:
            return JSONResponse({"error": {"message": "Too much.", "type": "x", "param": None, "code": "429"}}, 429)
        if body.get("stream"):
            return _stream(
                openai_like.stream(body, azure=True), "text/event-stream", model, openai_like.broken(azure=True)
            )
        return JSONResponse(openai_like.whole(body, azure=True))


def _stream(events: list[bytes], media_type: str, model: str, broken: bytes) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        told = events
        if model in (BREAKS, ENDLESS):
            told = events[: 1 + next(place for place, event in enumerate(events) if BEGINNING.encode() in event)]
        data = b"".join([*told, broken] if model == BREAKS else told)
        for start in range(0, len(data), 97):  # borders that are those of no event
            yield data[start : start + 97]
        while model == ENDLESS:
            yield told[-1]
            await asyncio.sleep(_PACE)

    return StreamingResponse(pieces(), media_type=media_type)
