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

from gateway.contract.owners import owner_of
from gateway.dataplane.access_log import AccessLog
from gateway.dataplane.catalogue import Catalogue
from gateway.dataplane.clock import Clock
from gateway.dataplane.counting.client import Counter
from gateway.dataplane.credentials import Learnt
from gateway.dataplane.emit import UsageSink
from gateway.dataplane.endpoints import batches, conversations, files, health, models, responses
from gateway.dataplane.endpoints.inference import BY_PATH
from gateway.dataplane.envelope import told
from gateway.dataplane.forward import Forward
from gateway.dataplane.gate import Limits
from gateway.dataplane.learned.taught import Taught
from gateway.dataplane.stored.background import Running
from gateway.dataplane.stored.store import Store
from gateway.dataplane.writes import Writes
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.dataplane.batching.service import Batching
    from gateway.dataplane.beside import Beside
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
        sidecar: str | None = None,
    ) -> None:
        self.runtime = runtime
        self.learnt = learnt
        self.sink = sink
        self.log = log
        self.taught = Taught()
        self.scrape = scrape
        self.metrics = scrape.metrics
        self.clock = Clock()
        self.counter = Counter(asyncio.get_running_loop())
        self.max_body_bytes = runtime.settings.server.max_body_bytes
        self.draining = False
        """Whether new requests are refused."""
        self.retiring = False
        """Whether another worker is there for new connections: what still comes here is served."""
        self.leaving = False
        """Either of both: connections are used no further."""
        self.loop = asyncio.get_running_loop()
        self.writes = Writes(self.loop)
        self.created = int(time.time())
        self.catalogue = Catalogue(self.created)
        """What is known of the models."""
        self._started = time.monotonic()
        self.app = Starlette(
            routes=[
                *health.routes(self),
                *models.routes(self),
                *responses.routes(self),
                *conversations.routes(self),
                *files.routes(self),
                *batches.routes(self),
            ],
            exception_handlers={HTTPException: _http_error, GatewayError: _gateway_error, Exception: _internal_error},
        )
        self.stored: Store | None = None
        """Where Responses are kept; None: nowhere."""
        self.running = Running(self)
        self.batching: Batching | None = None
        """Files and batches; None: there are none."""
        self.beside: Beside | None = None
        """Tells the metrics of a sidecar on this machine."""
        self.forward = Forward(self, sidecar)
        self.forward.gate = Limits(self)
        self.app.router.default = self._elsewhere  # after every route, and not for their 405

    @property
    def uptime(self) -> int:
        """Seconds since this worker started."""
        return int(time.monotonic() - self._started)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self.clock.request_id()
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                if self.leaving:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        await self.app(scope, receive, send_with_id)

    async def _elsewhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.forward(scope, receive, send)


def error_response(request: Request, error: GatewayError, headers: dict[str, str] | None = None) -> Response:
    """An error of ours as a Starlette response, in the envelope of the reference that owns the path."""
    owner = owner_of(request.method, request.url.path)
    status, lines, body = told(error, owner, request.state.request_id)
    given = {name.decode(): value.decode() for name, value in lines}
    return Response(body, status, given | (headers or {}))


def _gateway_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return error_response(request, error)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    method, path = request.method, request.url.path
    if error.status_code == 405 or path.encode("utf-8", "replace") in BY_PATH:
        allowed = (error.headers or {}).get("Allow", "POST")
        wrong = GatewayError(Kind.METHOD_NOT_ALLOWED, "method_not_allowed", f"{path} takes {allowed}, not {method}.")
        return error_response(request, wrong, {"allow": allowed})
    return error_response(request, GatewayError(Kind.INVALID, "invalid_request", str(error.detail)))


def _internal_error(request: Request, error: Exception) -> Response:
    return error_response(request, GatewayError(Kind.INTERNAL, "internal_error", "The gateway failed at this request."))
