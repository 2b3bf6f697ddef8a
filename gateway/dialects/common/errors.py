"""Every error of the sidecar, in the envelope of the reference that owns the path."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from gateway.contract.envelopes import render
from gateway.contract.leases import StoreUnavailable
from gateway.dialects.common.context import origin_of
from gateway.dialects.common.faults import not_json, of_validation
from gateway.dialects.common.headers import NOT_KEPT, headers_of, owner
from gateway.kernel.errors import GatewayError, Kind

_log = logging.getLogger("gateway.dialects")
_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
_KINDS = {
    400: (Kind.INVALID, "invalid_json"),
    413: (Kind.TOO_LARGE, "request_too_large"),
    415: (Kind.UNSUPPORTED_MEDIA, "unsupported_media_type"),
}


def install(app: FastAPI) -> None:
    """Have every error of the application answered so. Paths are exact: nothing is redirected."""
    app.router.redirect_slashes = False
    app.add_exception_handler(GatewayError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, _database)
    app.add_exception_handler(StoreUnavailable, _store)
    app.add_exception_handler(Exception, _unexpected)


def answer(request: Request, error: GatewayError, headers: Mapping[str, str] | None = None) -> Response:
    """An error as the owner of the request's path documents it."""
    request_id = origin_of(request).request_id or ""
    rendered = render(owner(request), error, request_id=request_id, now=datetime.now(UTC))
    # ASCII only: a message may name what a caller sent, halves of surrogate pairs included.
    body = json.dumps(rendered.body, separators=(",", ":"), allow_nan=False).encode()
    own = {NOT_KEPT[0]: NOT_KEPT[1], **(headers or {}), **rendered.headers, **headers_of(request)}
    return Response(body, rendered.status, own, media_type="application/json")


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return answer(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return answer(request, of_validation(error))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == 404:
        message = f"There is nothing at {request.method} {path}."
        return answer(request, GatewayError(Kind.NOT_FOUND, "not_found", message))
    if error.status_code == 405:
        allowed = ", ".join(_methods(request))
        message = f"{request.method} is not allowed at {path}; allowed: {allowed}."
        return answer(request, GatewayError(Kind.METHOD_NOT_ALLOWED, "method_not_allowed", message), {"allow": allowed})
    if error.status_code == 400:
        return answer(request, not_json())
    kind, code = _KINDS.get(error.status_code, (Kind.INTERNAL, "internal_error"))
    return answer(request, GatewayError(kind, code, str(error.detail)))


async def _database(request: Request, error: Exception) -> Response:
    _log.error("the database failed", exc_info=error, extra={"request_id": origin_of(request).request_id})
    message = "The database cannot be used just now; try again."
    return answer(request, GatewayError(Kind.UNAVAILABLE, "database_error", message, retry_after=1.0))


async def _store(request: Request, error: Exception) -> Response:
    _log.warning("counts can't be read", extra={"request_id": origin_of(request).request_id, "reason": str(error)})
    message = "What is used of limits and credits cannot be read just now; try again."
    return answer(request, GatewayError(Kind.UNAVAILABLE, "counts_unavailable", message, retry_after=1.0))


async def _unexpected(request: Request, error: Exception) -> Response:
    # Starlette raises it again once this is sent, and the server logs it; here is the request's id to find it by.
    _log.error("a request failed", extra={"request_id": origin_of(request).request_id, "error": type(error).__name__})
    return answer(request, GatewayError(Kind.INTERNAL, "internal_error", "Something went wrong on our side."))


def _methods(request: Request) -> list[str]:
    """What the path may be asked with: a router tells only the methods of the first route that fits."""
    routes = request.app.routes
    return [name for name in _METHODS if any(_fits(route, {**request.scope, "method": name}) for route in routes)]


def _fits(route: BaseRoute, scope: Scope) -> bool:
    return route.matches(scope)[0] is Match.FULL
