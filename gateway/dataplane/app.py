"""A worker's state and its Starlette app: everything but the inference paths."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.dataplane.access_log import AccessLog
from gateway.dataplane.clock import Clock
from gateway.dataplane.credentials import Learnt
from gateway.dataplane.emit import UsageSink
from gateway.dataplane.endpoints import health, models
from gateway.dataplane.endpoints.inference import BY_PATH
from gateway.dataplane.envelope import body_of, status_of
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.dataplane.runtime import Runtime
    from gateway.dataplane.scrape import Scrape


class Worker:
    """What the requests of one process share, and the ASGI app for all that is not inference."""

    def __init__(
        self,
        runtime: Runtime,
        sink: UsageSink,
        log: AccessLog,
        scrape: Scrape,
        learnt: Learnt | None = None,
    ) -> None:
        self.runtime = runtime
        self.learnt = learnt
        self.sink = sink
        self.log = log
        self.scrape = scrape
        self.metrics = scrape.metrics
        self.clock = Clock()
        self.max_body_bytes = runtime.settings.server.max_body_bytes
        self.draining = False
        self.loop = asyncio.get_running_loop()
        self.created = int(time.time())
        self._started = time.monotonic()
        self.app = Starlette(
            routes=[*health.routes(self), *models.routes(self)],
            exception_handlers={HTTPException: _http_error, GatewayError: _gateway_error, Exception: _internal_error},
        )

    @property
    def uptime(self) -> int:
        """Seconds since this worker started."""
        return int(time.monotonic() - self._started)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self.clock.request_id().encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        await self.app(scope, receive, send_with_id)


def error_response(error: GatewayError, headers: dict[str, str] | None = None) -> Response:
    """An error of ours as a Starlette response, in OpenAI's envelope."""
    return Response(body_of(error), status_of(error), headers, media_type="application/json")


def _gateway_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return error_response(error)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    method, path = request.method, request.url.path
    if error.status_code == 405 or path.encode("utf-8", "replace") in BY_PATH:
        allowed = (error.headers or {}).get("Allow", "POST")
        wrong = GatewayError(Kind.METHOD_NOT_ALLOWED, "method_not_allowed", f"{path} takes {allowed}, not {method}.")
        return error_response(wrong, {"allow": allowed})
    if error.status_code == 404:
        message = f"Unknown request URL: {method} {path[:200]}. See /v1/models, /v1/chat/completions."
        return error_response(GatewayError(Kind.NOT_FOUND, "unknown_url", message))
    return error_response(GatewayError(Kind.INVALID, "invalid_request", str(error.detail)))


def _internal_error(request: Request, error: Exception) -> Response:
    return error_response(GatewayError(Kind.INTERNAL, "internal_error", "The gateway failed at this request."))
