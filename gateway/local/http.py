"""The little HTTP the engine needs over ASGI: bodies within a limit, JSON, OpenAI's errors, event streams."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import orjson

from gateway.kernel.errors import GatewayError, Kind

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_STATUS = {
    Kind.INVALID: 400,
    Kind.NOT_FOUND: 404,
    Kind.METHOD_NOT_ALLOWED: 405,
    Kind.TOO_LARGE: 413,
    Kind.RATE_LIMITED: 429,
    Kind.UNAVAILABLE: 503,
}
_TYPE = {429: "rate_limit_error", 500: "server_error", 503: "server_error"}


class ClientGone(Exception):
    """The client closed the connection."""


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.started = False

    def header(self, name: bytes) -> str | None:
        """A request header by its lower-case name."""
        for key, value in self.scope["headers"]:
            if key == name:
                return str(value.decode("latin-1"))
        return None

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises ``GatewayError`` (``TOO_LARGE``) over ``limit`` bytes."""
        parts, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise GatewayError(Kind.TOO_LARGE, "body_too_large", f"Expected a body of at most {limit} bytes.")
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)

    async def gone(self) -> None:
        """Returns when the client has closed the connection; to be awaited after the body."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def json(self, value: Any, status: int = 200, headers: Headers | None = None) -> None:
        """Answer with a JSON body."""
        data = orjson.dumps(value)
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data)), *(headers or [])]
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": head})
        await self._send({"type": "http.response.body", "body": data})

    async def error(self, error: GatewayError) -> None:
        """Answer with OpenAI's error envelope, or end a stream that has begun with an error event."""
        status = _STATUS.get(error.kind, 500)
        if self.started:
            await self.event(envelope(error, status))
            await self.end()
            return
        headers: Headers = []
        if error.retry_after is not None:
            headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after)))
        await self.json(envelope(error, status), status, headers)

    async def event(self, value: Any, usage: Mapping[str, Any] | None = None) -> None:
        """Send one server-sent event; the first one begins the stream.

        ``usage`` is what has been counted so far. It follows as a comment (WHATWG HTML §9.2.6), for the data plane,
        which asked for it and does not pass it on: so it knows the count wherever a stream ends.
        """
        if not self.started:
            self.started = True
            head = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
            await self._send({"type": "http.response.start", "status": 200, "headers": head})
        data = value if isinstance(value, bytes) else orjson.dumps(value)
        body = b"data: %b\n\n" % data
        if usage is not None:
            body += b": %b\n\n" % orjson.dumps({"usage": usage})
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> None:
        """End an event stream."""
        await self._send({"type": "http.response.body", "body": b""})


def envelope(error: GatewayError, status: int) -> dict[str, Any]:
    """OpenAI's error body."""
    kind = _TYPE.get(status, "invalid_request_error")
    return {"error": {"message": error.message, "type": kind, "param": error.field, "code": error.code}}


@contextlib.asynccontextmanager
async def watching(exchange: Exchange, on_gone: Callable[[], None]) -> AsyncIterator[None]:
    """Calls ``on_gone`` if the client leaves while the block runs."""

    async def watch() -> None:
        await exchange.gone()
        on_gone()

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
