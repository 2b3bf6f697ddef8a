"""Health, readiness and metrics."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import gateway

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker


def routes(worker: Worker) -> list[Route]:
    """``/health``, ``/live``, ``/ready``, ``/ping`` and ``/metrics``; none needs a key."""
    registry = CollectorRegistry()
    registry.register(worker.metrics)

    async def health(request: Request) -> Response:
        return _json(_health(worker))

    async def live(request: Request) -> Response:
        return _json({"status": "alive"})

    async def ready(request: Request) -> Response:
        is_ready = not worker.draining
        return _json({"status": "ready" if is_ready else "draining"}, 200 if is_ready else 503)

    async def ping(request: Request) -> Response:
        now = datetime.now(UTC)
        body = {"status": "pong", "timestamp": _iso(now), "uptime": worker.uptime, "version": gateway.__version__}
        return _json(body)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=None, headers={"content-type": content_type})

    handlers = {"/health": health, "/live": live, "/ready": ready, "/ping": ping, "/metrics": metrics}
    return [Route(path, handler) for path, handler in handlers.items()]


def _health(worker: Worker) -> dict[str, Any]:
    """The fields of both references that document ``/health``."""
    resting = {
        target.name
        for route in worker.runtime.router.routes.values()
        for target in route.targets
        if target.open_until > worker.loop.time()
    }
    components: dict[str, Any] = {"data_plane": {"status": "healthy"}}
    for name in worker.runtime.pools:
        down = sorted(target for target in resting if target.startswith(f"{name}/"))
        components[f"provider:{name}"] = {"status": "degraded" if down else "healthy", "resting": down}
    return {
        "status": "degraded" if resting else "healthy",
        "timestamp": _iso(datetime.now(UTC)),
        "version": gateway.__version__,
        "uptime_seconds": worker.uptime,
        "components": components,
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
