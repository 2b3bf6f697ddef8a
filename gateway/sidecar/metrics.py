"""What the sidecar counts of itself, and who asks for it.

``GET /metrics`` tells it, without a key, as the data plane tells its own; ``GET /internal/metrics`` tells it to the
worker in front, which shows both. Numbers are plain integers: prometheus-client is loaded by whoever asks first.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from msgspec import Struct, field
from sqlalchemy import func, select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.dialects.common.headers import owner
from gateway.domain.ledger.levels import HOUR, MODELS
from gateway.domain.ledger.model import PoisonEntry
from gateway.sidecar.histogram import Histogram
from gateway.sidecar.ingest import IngestState
from gateway.store.engine import Store

_ASKED_AGAIN = 15.0  # seconds that what the database told is told again
_DAY = 86_400
_MOST_MODELS = 100
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Stored(Struct, frozen=True):
    """What the database knows: requests of the last day without a price, by provider and model; lines set aside."""

    unpriced: dict[tuple[str, str], int] = {}
    set_aside: int = 0


class Numbers(Struct, kw_only=True):
    """Everything at one moment. ``requests`` are by reference, method and status."""

    ingestion: IngestState
    batches: Histogram
    calculated: dict[str, int]
    rerated: int
    requests: dict[tuple[str, str, int], int]
    durations: dict[str, Histogram]
    listeners: int
    told: dict[str, int]
    missed: int
    noticed: dict[str, int]
    subscribers: int
    stored: Stored | None = None


class Counts(Struct):
    """What is counted as it happens."""

    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    durations: dict[str, Histogram] = field(default_factory=dict)

    def answered(self, reference: str, method: str, status: int, seconds: float) -> None:
        """A request was answered; ``seconds`` until the answer began."""
        self.requests[reference, method if method in _METHODS else "other", status] += 1
        if reference not in self.durations:
            self.durations[reference] = Histogram()
        self.durations[reference].add(seconds)


class Counted:
    """Middleware that counts requests, where the application finds its sidecar when they come."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        counts: Counts = scope["app"].state.context.counts
        began, status = time.monotonic(), 500

        async def noting(message: Message) -> None:
            nonlocal status, began
            if message["type"] == "http.response.start":
                status = message["status"]
                counts.answered(_reference(scope), scope["method"], status, time.monotonic() - began)
                began = -1.0
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            if began >= 0:  # it failed, or its client left
                counts.answered(_reference(scope), scope["method"], status, time.monotonic() - began)


def _reference(scope: Scope) -> str:
    path: str = scope["path"]
    return "internal" if path.startswith("/internal/") or path == "/metrics" else owner(Request(scope))


class Measured:
    """The numbers of a running sidecar."""

    def __init__(self, store: Store, now: Callable[[], Numbers]) -> None:
        self._store = store
        self._now = now
        self._stored: Stored | None = None
        self._asked = float("-inf")
        self._asking = asyncio.Lock()

    async def numbers(self) -> Numbers:
        """All of them; what the database knows may be a quarter of a minute old, or None where it can't be asked."""
        async with self._asking:
            if time.monotonic() - self._asked > _ASKED_AGAIN:
                self._stored = await _stored(self._store)
                self._asked = time.monotonic()
        numbers = self._now()
        numbers.stored = self._stored
        return numbers


async def _stored(store: Store) -> Stored | None:
    hours = MODELS.table(HOUR).c
    count = func.sum(hours.unpriced)
    since = int(time.time()) - _DAY
    query = select(hours.provider, hours.model, count).where(hours.start >= since, hours.unpriced != 0)
    query = query.group_by(hours.provider, hours.model).having(count != 0).order_by(count.desc()).limit(_MOST_MODELS)
    try:
        async with asyncio.timeout(2.0), store.reading() as session:
            unpriced = {(row[0], row[1]): int(row[2]) for row in await session.execute(query)}
            aside = await session.scalar(select(func.count()).select_from(PoisonEntry)) or 0
    except Exception:
        return None  # a database that is away leaves these out; the log tells of it elsewhere
    return Stored(unpriced, aside)


def router() -> APIRouter:
    """``/metrics``, open to all who reach the sidecar."""
    made = APIRouter(include_in_schema=False)

    @made.get("/metrics")
    async def metrics(request: Request) -> Response:
        # Most sidecars are asked by their data plane, or not at all.
        from gateway.sidecar.exposition import text_of  # noqa: PLC0415

        numbers = await cast(Any, request.app.state.context).measured.numbers()
        body, content_type = await asyncio.to_thread(text_of, numbers, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return made


async def told(request: Request) -> Response:
    """The answer at ``gateway.contract.scrape.PATH``."""
    from gateway.sidecar.exposition import packed  # noqa: PLC0415 - as above

    numbers = await cast(Any, request.app.state.context).measured.numbers()
    return Response(await asyncio.to_thread(packed, numbers), media_type="application/msgpack")
