"""One forwarded request: its body to the sidecar, the answer back, each as fast as the other side takes it."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.types import Receive, Send

from gateway.dataplane.forwarding import SAFE, Asked, Headers, answer_headers, failure, request_head
from gateway.dataplane.upstream.connection import Connection
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.dataplane.upstream.pool import Pool
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker

AHEAD = 262_144
"""Bytes of an answer kept for a client that does not read; beyond, the sidecar is not read either."""
FIRST = 300.0
"""Seconds until the answer begins: reports and tasks take their time."""
STALL = 600.0
"""Seconds without a byte in mid-answer; live streams say something far more often."""
PATIENCE = 60.0
"""Seconds for the next piece of a request's body, from the client or into the sidecar."""
LONGEST_BODY = 600.0
"""Seconds for a whole body that keeps coming."""


_LOOK = 0.05  # seconds between two looks for a sidecar that is being started


class _Left(Exception):
    """The client is gone."""


class Forwarding:
    """One forwarded request: a task for its body and the client's leaving, the caller's own for the answer."""

    def __init__(
        self, worker: Worker, pool: Pool, request: Asked, receive: Receive, send: Send, extra: Headers
    ) -> None:
        self.worker = worker
        self.pool = pool
        self.request = request
        self.receive = receive
        self.send = send
        self.extra = extra
        self.started = False
        self.framing: list[bytes] = []
        self.chunked = False
        for name, value in request.headers:
            if name == b"transfer-encoding":
                self.framing = [b"transfer-encoding: " + value]
                self.chunked = True
            elif name == b"content-length" and not self.chunked:
                self._check_size(int(value))
                self.framing = [b"content-length: " + value]

    def _check_size(self, size: int) -> None:
        limit = self.worker.max_body_bytes
        if size > limit:
            raise GatewayError(Kind.TOO_LARGE, "request_too_large", f"The request's body is larger than {limit} bytes.")

    async def run(self) -> None:
        """Forward, and relay the answer. Raises :class:`GatewayError`.

        A kept-alive connection that was being closed just when it was used again is no failure of the sidecar: where
        that is safe, the request goes out once more.
        """
        again = False
        while True:
            answer = await self._ask()
            try:
                await self._converse(answer)
            except _Left:
                return
            except UpstreamError as error:
                if again or self.started or not self._may_repeat(answer, error):
                    raise failure(error, self.request) from error
                again = True
                self.pool.drop_stale()
            else:
                return

    def _may_repeat(self, answer: _Answer, error: UpstreamError) -> bool:
        return answer.went_stale(error) and not self.framing and self.request.method in SAFE

    async def _ask(self) -> _Answer:
        """Take a connection and send the head. Raises :class:`GatewayError`."""
        head = request_head(self.request, self.pool.origin.prefix, *self.worker.forward.introduction, *self.framing)
        loop = self.worker.loop
        connection = self.pool.take_idle()
        while connection is None:
            try:
                connection = await self.pool.acquire(loop.time() + PATIENCE)
            except UpstreamError as error:
                if error.reason != "connect" or loop.time() > self.worker.forward.expected_by:
                    raise failure(error, self.request) from error
                await asyncio.sleep(_LOOK)  # it is only being started
        self.worker.forward.expected_by = 0.0
        answer = _Answer(connection, loop)
        connection.reusable = not self.framing
        connection.send(answer, [head], math.inf if self.framing else FIRST, STALL, math.inf)
        return answer

    async def _converse(self, answer: _Answer) -> None:
        body = asyncio.create_task(self._send_body(answer))
        try:
            await self._relay(answer)
        finally:
            answer.give_up()
            body.cancel()
            with suppress(asyncio.CancelledError):
                await body

    async def _send_body(self, answer: _Answer) -> None:
        """Send the request's body on as it comes; then wait for the client to leave."""
        size = 0
        more = True
        loop = self.worker.loop
        last = loop.time() + LONGEST_BODY
        try:
            while True:
                async with asyncio.timeout_at(min(loop.time() + PATIENCE, last) if more and self.framing else None):
                    message = await self.receive()
                if message["type"] == "http.disconnect":
                    answer.stop(_Left())
                    return
                if not more:
                    continue
                data = message.get("body", b"")
                more = message.get("more_body", False)
                size += len(data)
                self._check_size(size)
                if self.framing:
                    await answer.send_body(_chunk(data, last=not more) if self.chunked else data, last=not more)
        except TimeoutError:
            late = "The rest of the request's body did not arrive in time."
            answer.stop(GatewayError(Kind.INVALID, "request_timeout", late))
        except (GatewayError, UpstreamError) as error:
            answer.stop(error)

    async def _relay(self, answer: _Answer) -> None:
        status, headers = await answer.begin()
        self.started = True
        headers = answer_headers(status, headers, self.extra)
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        more = self.request.method != "HEAD"  # its answer announces a body that never comes
        while more:
            data, more = await answer.read()
            await self.send({"type": "http.response.body", "body": data, "more_body": more})
        if self.request.method == "HEAD":
            await self.send({"type": "http.response.body", "body": b""})


def _chunk(data: bytes, *, last: bool) -> bytes:
    piece = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return piece + b"0\r\n\r\n" if last else piece


class _Answer:
    """The sidecar's answer, from the connection's calls to a coroutine that takes it piece by piece."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._head: tuple[int, Headers] | None = None
        self._pieces: list[bytes] = []
        self._held = 0
        self._ended = False
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    # taken by the exchange

    async def begin(self) -> tuple[int, Headers]:
        """The final status and the headers. Raises what ended the exchange."""
        while self._head is None:
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        return self._head

    async def read(self) -> tuple[bytes, bool]:
        """What has come of the body, and whether more will. Raises what ended the exchange, after all that came."""
        while not self._pieces and not self._ended:
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        if isinstance(self._error, _Left):
            raise self._error
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        self._pause(False)
        return data, not self._ended

    async def send_body(self, data: bytes, *, last: bool) -> None:
        """The next piece of the request's body, once there is room. Dropped where the answer has ended.

        Raises :class:`UpstreamError` where no room comes.
        """
        connection = self._connection
        try:
            async with asyncio.timeout(None if self._room.is_set() else PATIENCE):
                await self._room.wait()
        except TimeoutError as error:
            raise UpstreamError("stall_timeout", "The request's body is not being read.") from error
        if connection.handler is not self:
            return
        connection.write(data)
        if last:
            connection.reusable = True
            if self._head is None:
                connection.deadline = self._loop.time() + FIRST

    def went_stale(self, error: UpstreamError) -> bool:
        """Whether a connection that had served before was closed without a byte of this answer."""
        return error.reason == "reset" and self._connection.used > 1 and not self._connection.received

    def stop(self, error: Exception) -> None:
        """End the exchange from this side; the answer's reader gets ``error``."""
        self.give_up()
        self._over(error)

    def give_up(self) -> None:
        """Close the connection where the exchange is not over."""
        if self._connection.handler is self:
            self._connection.abort()

    def _over(self, error: Exception) -> None:
        if not self._ended and self._error is None:
            self._error = error
        self._room.set()
        self._news.set()

    def _pause(self, wanted: bool) -> None:
        """Stop reading the sidecar's answer, or go on."""
        if self._connection.handler is self:
            self._connection.hold(wanted, math.inf)

    # gateway.dataplane.upstream.connection.Handler

    def on_head(self, status: int, headers: Headers) -> None:
        self._head = (status, headers)
        # From here on silence counts from the last byte: a live stream may say nothing for long.
        self._connection.deadline_reason = "stall_timeout"
        self._connection.deadline = 0.0
        self._news.set()

    def on_data(self, data: bytes) -> None:
        self._pieces.append(data)
        self._held += len(data)
        if self._held > AHEAD:
            self._pause(True)
        self._news.set()

    def on_end(self) -> None:
        self._ended = True
        self._room.set()
        self._news.set()

    def on_fail(self, error: UpstreamError) -> None:
        self._over(error)

    def on_writable(self, writable: bool) -> None:
        if writable:
            self._room.set()
        else:
            self._room.clear()
