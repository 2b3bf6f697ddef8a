"""What only the data plane and the command line may ask: lookups, changes, prices, models, a poke, its health."""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Protocol, TypeAlias

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.bus.bulk import MOST
from gateway.bus.policy import PRICED_MOST, Query
from gateway.contract.catalogue import Details
from gateway.contract.internal import HEADER, PREFIX, internal_token
from gateway.contract.policy import Change, Resolution
from gateway.contract.prices import Priced, PriceFrom, Prices
from gateway.sidecar.feed import SUBSCRIBERS, Feed
from gateway.sidecar.ingest import IngestState

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

_encode = msgspec.json.Encoder().encode
_priced = msgspec.json.Decoder(list[Priced], strict=True).decode
_query = msgspec.json.Decoder(Query | list[Query], strict=True).decode
LARGEST_QUERY = 65_536  # bytes
LARGEST_ANSWER = 1_048_576  # bytes of a list, beyond which it is cut short
_NO_TARGETS = f"Expected a JSON list of at most {PRICED_MOST} objects with provider and model."
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class Ingesting(Protocol):
    """What enters usage into the ledger, as far as it is told of."""

    @property
    def state(self) -> IngestState:
        """How far it is."""
        ...


class Answering(Protocol):
    """What the internal API is served from: the parts of a sidecar it needs."""

    master_key: str
    feed: Feed
    started: float

    @property
    def ingester(self) -> Ingesting:
        """Where usage goes into the ledger."""
        ...

    async def resolve(self, query: Query) -> Resolution:
        """Whose credential it is."""
        ...

    async def resolve_all(self, digests: Sequence[bytes]) -> Sequence[Resolution]:
        """Whose opaque credentials are, in the same order."""
        ...

    async def cost(self, targets: Sequence[Priced]) -> Prices:
        """What these targets cost from now on."""
        ...

    async def describe(self, targets: Sequence[Priced]) -> Sequence[Details]:
        """What is known of these targets beside what the configuration says."""
        ...


class Forbidden(Exception):
    """The header that the planes know each other by is missing or wrong."""


def _told(status: int, code: str, message: str) -> Response:
    body = _encode({"error": {"code": code, "message": message}})
    return Response(body, status, media_type="application/json")


async def forbidden(_request: Request, _error: Exception) -> Response:
    """The answer to a caller that is no part of this gateway."""
    return _told(403, "forbidden", f"Paths below {PREFIX} are the gateway's own.")


def router(sidecar: Answering, *more: tuple[str, Handler]) -> APIRouter:
    """The internal API of one sidecar; ``more`` are further paths of it, each with what answers ``GET``."""
    expected = internal_token(sidecar.master_key).encode()

    async def known(request: Request) -> None:
        if not hmac.compare_digest(request.headers.get(HEADER, "").encode(), expected):
            raise Forbidden

    made = APIRouter(prefix=PREFIX.rstrip("/"), dependencies=[Depends(known)], include_in_schema=False)
    made.routes.append(Route(f"{PREFIX}resolve", _Resolve(sidecar, expected), methods=["POST"]))

    @made.get("/changes")
    async def changes(after: int | None = None) -> Response:
        if sidecar.feed.subscribers >= SUBSCRIBERS:
            return _told(503, "too_many_subscribers", f"There are {SUBSCRIBERS} subscribers already.")
        return StreamingResponse(_lines(sidecar.feed, after), media_type="application/x-ndjson")

    @made.post("/prices")
    async def prices(request: Request) -> Response:
        asked = _targets(await _body(request.receive))
        if asked is None:
            return _told(400, "invalid_query", _NO_TARGETS)
        return Response(_encode(_cut(await sidecar.cost(asked))), media_type="application/json")

    @made.post("/models")
    async def models(request: Request) -> Response:
        asked = _targets(await _body(request.receive))
        if asked is None:
            return _told(400, "invalid_query", _NO_TARGETS)
        return Response(_encode(await sidecar.describe(asked)), media_type="application/json")

    @made.post("/poke")
    async def poke() -> Response:
        sidecar.feed.poke()
        return Response(status_code=204)

    @made.get("/health")
    async def health() -> Response:
        return Response(_encode(_health(sidecar)), media_type="application/json")

    for path, handler in more:
        made.add_api_route(path.removeprefix(PREFIX.rstrip("/")), handler, methods=["GET"])

    return made


class _Resolve:
    """``POST /internal/resolve`` as bare ASGI: a worker that starts asks for thousands of credentials.

    One query is answered with one resolution. A list of digests, at most ``bulk.MOST``, is answered with a list, of the
    first ones alone where all would be too much; one at least.
    """

    def __init__(self, sidecar: Answering, expected: bytes) -> None:
        self._sidecar = sidecar
        self._header = HEADER.encode()
        self._expected = expected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope["headers"] if name == self._header), b"")
        if not hmac.compare_digest(given, self._expected):
            raise Forbidden
        asked = _read(await _body(receive))
        if asked is None:
            message = "Expected a JSON object with either digest, 64 hex digits, or token; or a list with digests."
            await _told(400, "invalid_query", message)(scope, receive, send)
            return
        if isinstance(asked, Query):
            body = _encode(await self._sidecar.resolve(asked))
        else:
            body = _listed(await self._sidecar.resolve_all([bytes.fromhex(query.digest or "") for query in asked]))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> bytes | None:
    """The request's body; None for one that is too large, and for one that its sender left unfinished."""
    body = b""
    while len(body) <= LARGEST_QUERY:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body if len(body) <= LARGEST_QUERY else None
    return None


def _read(body: bytes | None) -> Query | list[Query] | None:
    try:
        asked = None if body is None else _query(body)
    except msgspec.DecodeError:
        return None
    if not isinstance(asked, list):
        return asked if asked is not None and _is_whole(asked) else None
    fits = 0 < len(asked) <= MOST and all(query.token is None and _is_whole(query) for query in asked)
    return asked if fits else None


def _is_whole(query: Query) -> bool:
    if query.token is not None:
        return query.digest is None
    return query.digest is not None and _DIGEST.match(query.digest) is not None


def _targets(body: bytes | None) -> list[Priced] | None:
    try:
        asked = None if body is None else _priced(body)
    except msgspec.DecodeError:
        return None
    return asked if asked and len(asked) <= PRICED_MOST else None


def _cut(prices: Prices) -> Prices:
    """The prices of the first targets, as many as are not too much; one at least."""
    told: list[list[PriceFrom]] = []
    size = 0
    for versions in prices.prices:
        size += len(_encode(versions))
        if told and size > LARGEST_ANSWER:
            break
        told.append(versions)
    return Prices(told, prices.exchange)


def _listed(answers: Sequence[Resolution]) -> bytes:
    parts: list[bytes] = []
    size = 0
    for answer in answers:
        part = _encode(answer)
        size += len(part) + 1
        if parts and size > LARGEST_ANSWER:
            break
        parts.append(part)
    return b"[" + b",".join(parts) + b"]"


async def _lines(feed: Feed, after: int | None) -> AsyncGenerator[bytes, None]:
    """The stream of ``GET /internal/changes``: a head, a line a change, and an empty line a second without one."""
    async with aclosing(feed.subscribe(after)) as told:
        async for item in told:
            if item is None:
                yield b"\n"
            elif isinstance(item, Change):
                yield _encode(item) + b"\n"
            else:
                yield _encode({"seq": item}) + b"\n"
            # A subscriber that takes everything at once must not keep the loop from the others.
            await asyncio.sleep(0)


def _health(sidecar: Answering) -> dict[str, object]:
    return {
        "status": "ok",
        "pid": os.getpid(),
        "seq": sidecar.feed.seq,
        "subscribers": sidecar.feed.subscribers,
        "uptime_seconds": round(time.monotonic() - sidecar.started, 3),
        "ingestion": sidecar.ingester.state,
    }
