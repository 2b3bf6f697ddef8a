"""Routers of a reference: bounded bodies, and the request's id on every answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from gateway.dialects.common.headers import NOT_KEPT, headers_of

LARGEST_BODY = 1_048_576  # bytes


class Route(APIRoute):
    """A route that reads no more than ``largest`` bytes, and whose answers carry ``X-Request-Id``.

    No cache keeps an answer, unless the handler says so: most hold what is one caller's alone, some a secret.
    """

    largest = LARGEST_BODY

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """The handler around that of FastAPI."""
        handle, largest = super().get_route_handler(), self.largest

        async def handler(request: Request) -> Response:
            length = request.headers.get("content-length", "")
            if length.isascii() and length.isdecimal() and int(length[:20]) > largest:
                raise _too_large(largest)
            response = await handle(Request(request.scope, _bounded(request.receive, largest)))
            response.headers.update(headers_of(request))
            response.headers.setdefault(*NOT_KEPT)
            return response

        return handler


def make_router(largest: int = LARGEST_BODY) -> APIRouter:
    """An empty router for one reference's operations, whose bodies have at most ``largest`` bytes."""
    return APIRouter(route_class=type("SizedRoute", (Route,), {"largest": largest}), redirect_slashes=False)


# FastAPI's own limit answers in plain text, whatever the application says of errors.
def _bounded(receive: Receive, largest: int) -> Receive:
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > largest:
            raise _too_large(largest)
        return message

    return bounded


def _too_large(largest: int) -> HTTPException:
    # Of this kind alone: FastAPI takes any other that comes up in mid-body for a fault of the JSON.
    return HTTPException(413, f"The body must have at most {largest} bytes.")
