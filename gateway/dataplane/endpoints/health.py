"""Health, readiness and metrics. None needs a key.

``/health`` and ``/ready`` share one body: status, timestamp, version, uptime_seconds and components. What each status
means is told in ``docs/observability.md``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import gateway

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker


def routes(worker: Worker) -> list[Route]:
    """``/health``, ``/live``, ``/ready``, ``/ping`` and ``/metrics``."""

    async def health(request: Request) -> Response:
        body = _health(worker)
        return _json(body, 503 if body["status"] == "unhealthy" else 200)

    async def live(request: Request) -> Response:
        return _json({"status": "healthy"})

    async def ping(request: Request) -> Response:
        return _json(
            {"status": "pong", "timestamp": _now(), "uptime": worker.uptime, "version": gateway.__version__},
        )

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        more = () if worker.beside is None else await worker.beside.families()
        # Writing out thousands of series takes longer than any request should wait for.
        body = await worker.loop.run_in_executor(None, encode, worker.scrape.gather(more))
        return Response(body, media_type=None, headers={"content-type": content_type})

    # /ready has the body of /health, so that a probe's log tells why.
    handlers = {"/health": health, "/live": live, "/ready": health, "/ping": ping, "/metrics": metrics}
    return [Route(path, handler) for path, handler in handlers.items()]


def _health(worker: Worker) -> dict[str, Any]:
    components = [_data_plane(worker), *_providers(worker)]
    degraded = any(component["status"] != "healthy" for component in components)
    return {
        "status": "unhealthy" if components[0]["status"] == "unhealthy" else "degraded" if degraded else "healthy",
        "timestamp": _now(),
        "version": gateway.__version__,
        "uptime_seconds": worker.uptime,
        "components": components,
    }


def _data_plane(worker: Worker) -> dict[str, Any]:
    if worker.draining:
        return _component("data_plane", "unhealthy", "The gateway is shutting down.")
    if worker.sink.failing:
        return _component("data_plane", "unhealthy", "What is used can't be recorded: the disk takes no more.")
    return _component("data_plane", "healthy")


def _providers(worker: Worker) -> list[dict[str, Any]]:
    """Each provider: degraded while some of its targets rest after failures, unhealthy while all do."""
    now = worker.loop.time()
    resting: dict[str, set[str]] = {}
    known: dict[str, set[str]] = {name: set() for name in worker.runtime.pools}
    for route in worker.runtime.router.routes.values():
        for target in route.targets:
            known[target.provider.name].add(target.model)
            if target.breaker.open_until > now:
                resting.setdefault(target.provider.name, set()).add(target.model)
    found = []
    for name, models in known.items():
        down = sorted(resting.get(name, ()))
        status = "healthy" if not down else "degraded" if len(down) < len(models) else "unhealthy"
        message = f"Resting after failures: {', '.join(down)}." if down else None
        found.append(_component(f"provider:{name}", status, message))
    return found


def _component(name: str, status: str, message: str | None = None) -> dict[str, Any]:
    return {"name": name, "status": status, "message": message}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
