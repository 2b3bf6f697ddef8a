"""Routers of a reference: bounded bodies, and the request's id on every answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from gateway.dialects.common.context import origin_of

LARGEST_BODY = 1_048_576  # bytes


class Route(APIRoute):
    """A route whose answers carry ``X-Request-Id``."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """The handler around that of FastAPI."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            response = await handle(request)
            response.headers["x-request-id"] = origin_of(request).request_id or ""
            return response

        return handler


def make_router() -> APIRouter:
    """An empty router for one reference's operations."""
    return APIRouter(route_class=Route, max_body_size=LARGEST_BODY, redirect_slashes=False)
