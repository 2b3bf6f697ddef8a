"""Routers of a reference: bounded bodies, and the request's id on every answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from gateway.dialects.common.bodies import SlicedRequest, Turns
from gateway.dialects.common.context import context_of
from gateway.dialects.common.headers import NOT_KEPT, headers_of

LARGEST_BODY = 1_048_576  # bytes
Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Route(APIRoute):
    """A route that reads no more than ``largest`` bytes, and whose answers carry ``X-Request-Id``.

    No cache keeps an answer, unless the handler says so: most hold what is one caller's alone, some a secret.
    """

    largest = LARGEST_BODY

    def get_route_handler(self) -> Handler:  # type: ignore[override]
        """The handler around that of FastAPI."""
        handle, largest = super().get_route_handler(), self.largest

        async def handler(request: Request) -> Response:
            length = request.headers.get("content-length", "")
            if length.isascii() and length.isdecimal() and int(length[:20]) > largest:
                raise _too_large(largest)
            response = await self.handled(handle, request, _bounded(request.receive, largest))
            response.headers.update(headers_of(request))
            response.headers.setdefault(*NOT_KEPT)
            return response

        return handler

    async def handled(self, handle: Handler, request: Request, receive: Receive) -> Response:
        """The answer to a request whose body comes by ``receive``."""
        return await handle(Request(request.scope, receive))


class LargeRoute(Route):
    """A route for bodies of megabytes, see :mod:`gateway.dialects.common.bodies`."""

    kind: type[SlicedRequest] = SlicedRequest

    async def handled(self, handle: Handler, request: Request, receive: Receive) -> Response:
        """As above, once the body is there and no other large one is being handled."""
        turns: Turns = request.app.state.turns
        async with turns.whole(receive, context_of(request).settings.data_dir) as body:
            return await handle(self.kind(request, body))


def make_router(largest: int = LARGEST_BODY) -> APIRouter:
    """An empty router for one reference's operations, whose bodies have at most ``largest`` bytes."""
    return APIRouter(route_class=type("SizedRoute", (Route,), {"largest": largest}), redirect_slashes=False)


def make_large_router(largest: int, sliced: str) -> APIRouter:
    """An empty router for operations whose bodies may have megabytes; ``sliced`` is what is long in them."""
    kind = type("LargeRequest", (SlicedRequest,), {"sliced": sliced})
    made = type("SizedRoute", (LargeRoute,), {"largest": largest, "kind": kind})
    return APIRouter(route_class=made, redirect_slashes=False)


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
