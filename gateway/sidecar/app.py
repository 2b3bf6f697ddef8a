"""The sidecar's application: the internal API, and the published references' routers over one domain."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TypeAlias

from fastapi import APIRouter, FastAPI

from gateway import __version__
from gateway.contract.scrape import PATH
from gateway.dialects.common.bodies import Turns
from gateway.sidecar import internal, metrics, routes
from gateway.sidecar.parts import Sidecar

RouterFactory: TypeAlias = Callable[[], APIRouter]

# Modules with a function ``router() -> APIRouter``: the operations of one reference each. Earlier ones match first.
DIALECTS: tuple[str, ...] = (
    "gateway.dialects.gatewayz",
    "gateway.dialects.llm_cost_ops",
    "gateway.dialects.ai_marketplace",
    "gateway.dialects.leanvibe",
)
# Modules with a function ``install(app: FastAPI) -> None``: error handlers and middleware that all dialects share.
SHARED: tuple[str, ...] = ("gateway.dialects.common.errors",)


def create_app(sidecar: Sidecar, dialects: tuple[str, ...] = DIALECTS, shared: tuple[str, ...] = SHARED) -> FastAPI:
    """The application over the parts of a running sidecar, which handlers find as ``app.state.context``."""
    app = FastAPI(title="LLM gateway", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.context = sidecar
    app.state.turns = Turns(sidecar.store.large)
    app.add_exception_handler(internal.Forbidden, internal.forbidden)
    app.add_middleware(metrics.Counted)
    app.include_router(internal.router(sidecar, (PATH, metrics.told), (routes.PATH, routes.told)))
    app.include_router(metrics.router())
    for name in shared:
        importlib.import_module(name).install(app)
    for name in dialects:
        make: RouterFactory = importlib.import_module(name).router
        app.include_router(make())
    return app
