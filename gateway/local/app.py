"""The ASGI application of the engine: its routes, and errors to answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from gateway.kernel.errors import GatewayError, Kind
from gateway.local.endpoints.chat import chat
from gateway.local.endpoints.completions import completions
from gateway.local.endpoints.embeddings import embeddings
from gateway.local.endpoints.tokenize import tokenize
from gateway.local.engine import Engine
from gateway.local.http import ClientGone, Exchange, Receive, Scope, Send

_LOG = logging.getLogger("gateway.local")
Handler = Callable[[Engine, Exchange], Awaitable[None]]


async def models(engine: Engine, exchange: Exchange) -> None:
    """``GET /v1/models``."""
    data = [
        {"id": spec.id, "object": "model", "created": 0, "owned_by": spec.provider}
        for spec in engine.settings.models.values()
    ]
    await exchange.json({"object": "list", "data": data})


async def health(engine: Engine, exchange: Exchange) -> None:
    """``GET /health``: 200 whatever the engine's state; the body has it."""
    await exchange.json(engine.health())


# OpenAI's paths are answered with and without ``/v1`` before them.
ROUTES: dict[str, tuple[str, Handler]] = {
    "/chat/completions": ("POST", chat),
    "/completions": ("POST", completions),
    "/embeddings": ("POST", embeddings),
    "/models": ("GET", models),
    "/tokenize": ("POST", tokenize),
    "/health": ("GET", health),
}


class Application:
    """The engine over ASGI."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        try:
            await self._dispatch(exchange)
        except ClientGone:
            return
        except GatewayError as error:
            await exchange.error(error)
        except Exception:
            _LOG.exception("A request failed")
            await exchange.error(GatewayError(Kind.INTERNAL, "internal_error", "The local model engine failed."))

    async def _dispatch(self, exchange: Exchange) -> None:
        path, method = exchange.scope["path"], exchange.scope["method"]
        route = ROUTES.get(path.removeprefix("/v1"))
        if route is None:
            raise GatewayError(Kind.NOT_FOUND, "not_found", f"There is nothing at {path}.")
        if method != route[0]:
            raise GatewayError(Kind.METHOD_NOT_ALLOWED, "method_not_allowed", f"Expected {route[0]}, not {method}.")
        await route[1](self._engine, exchange)
