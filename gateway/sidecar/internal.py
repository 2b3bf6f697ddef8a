"""What only the data plane and the command line may ask: lookups, changes, a poke, and how the sidecar is."""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from gateway.bus.policy import Query
from gateway.contract.internal import HEADER, PREFIX, internal_token
from gateway.contract.policy import Change, Resolution
from gateway.sidecar.feed import SUBSCRIBERS, Feed
from gateway.sidecar.ingest import IngestState

_encode = msgspec.json.Encoder().encode
_query = msgspec.json.Decoder(Query, strict=True).decode
LARGEST_QUERY = 65_536  # bytes
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


class Forbidden(Exception):
    """The header that the planes know each other by is missing or wrong."""


def _told(status: int, code: str, message: str) -> Response:
    body = _encode({"error": {"code": code, "message": message}})
    return Response(body, status, media_type="application/json")


async def forbidden(_request: Request, _error: Exception) -> Response:
    """The answer to a caller that is no part of this gateway."""
    return _told(403, "forbidden", f"Paths below {PREFIX} are the gateway's own.")


def router(sidecar: Answering) -> APIRouter:
    """The internal API of one sidecar."""
    expected = internal_token(sidecar.master_key).encode()

    def known(request: Request) -> None:
        if not hmac.compare_digest(request.headers.get(HEADER, "").encode(), expected):
            raise Forbidden

    made = APIRouter(prefix=PREFIX.rstrip("/"), dependencies=[Depends(known)], include_in_schema=False)

    @made.post("/resolve")
    async def resolve(request: Request) -> Response:
        body = await request.body()
        try:
            query = _query(body) if len(body) <= LARGEST_QUERY else None
        except msgspec.DecodeError:
            query = None
        if query is None or not _is_whole(query):
            return _told(400, "invalid_query", "Expected a JSON object with either digest, 64 hex digits, or token.")
        return Response(_encode(await sidecar.resolve(query)), media_type="application/json")

    @made.get("/changes")
    async def changes(after: int | None = None) -> Response:
        if sidecar.feed.subscribers >= SUBSCRIBERS:
            return _told(503, "too_many_subscribers", f"There are {SUBSCRIBERS} subscribers already.")
        return StreamingResponse(_lines(sidecar.feed, after), media_type="application/x-ndjson")

    @made.post("/poke")
    async def poke() -> Response:
        sidecar.feed.poke()
        return Response(status_code=204)

    @made.get("/health")
    async def health() -> Response:
        return Response(_encode(_health(sidecar)), media_type="application/json")

    return made


def _is_whole(query: Query) -> bool:
    if query.token is not None:
        return query.digest is None
    return query.digest is not None and _DIGEST.match(query.digest) is not None


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
