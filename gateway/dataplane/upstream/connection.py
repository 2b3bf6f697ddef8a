"""One keep-alive connection to an upstream: writes requests, parses answers, calls a handler.

The protocol is HTTP/1.1 (RFC 9112). Parsing is llhttp's, in its strict default; head and line sizes are bounded here
because llhttp bounds neither.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

import httptools

from gateway.dataplane.upstream.errors import Reason, UpstreamError

if TYPE_CHECKING:
    from gateway.dataplane.upstream.pool import Pool

MAX_HEAD_BYTES: Final = 65_536
_BODILESS: Final = frozenset((204, 304))

Headers = list[tuple[bytes, bytes]]


class Handler(Protocol):
    """What receives an answer. Calls come in order: head, data any number of times, then end; or fail at any point."""

    def on_head(self, status: int, headers: Headers) -> None:
        """The final status and the headers, names in lower case."""

    def on_data(self, data: bytes) -> None:
        """A piece of the body with transfer coding removed, never empty."""

    def on_end(self) -> None:
        """The body is complete; the connection is no longer ours."""

    def on_fail(self, error: UpstreamError) -> None:
        """The exchange ended early; the connection is closed."""

    def on_writable(self, writable: bool) -> None:
        """The upstream's send buffer filled up (false) or drained (true)."""


class _HeadTooLarge(Exception):
    pass


class _Unasked(Exception):
    pass


class Connection:
    """A connection owned by a :class:`Pool`. Use :meth:`send`, then wait for the handler's calls.

    It has the methods of an :class:`asyncio.Protocol` without being one by class, which could not be compiled.
    """

    __slots__ = (
        "_body",
        "_dirty",
        "_done",
        "_head",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_keep_alive",
        "_loop",
        "_parser",
        "alive",
        "deadline",
        "deadline_reason",
        "handler",
        "held",
        "idle_since",
        "last_data",
        "pool",
        "pool_slot",
        "received",
        "reusable",
        "stall",
        "total_at",
        "transport",
        "unsent",
        "used",
        "writable",
    )

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        self.pool = pool
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._head_bytes = 0
        self._in_head = True
        self._head: tuple[int, Headers] = (0, [])
        self._done = False
        self._dirty = False
        self._keep_alive = False
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        self.handler: Handler | None = None
        self.alive = True
        self.held = False  # the answer is left in the kernel for now
        self.writable = True
        self.unsent = False
        self.used = 0
        self.received = False
        self.idle_since = 0.0
        self.last_data = 0.0
        self.deadline = 0.0
        self.total_at = 0.0
        self.stall = 0.0
        self.deadline_reason: Reason = "first_token_timeout"
        self.pool_slot = False
        self.reusable = True  # false while a request body is still on its way

    # requests

    def send(
        self, handler: Handler, request: list[bytes | memoryview], first: float, stall: float, total_at: float
    ) -> None:
        """Start an exchange: write the pieces of ``request``, answer to ``handler``.

        ``first`` and ``stall`` are seconds, ``total_at`` is loop time. Whoever calls must hold the connection.
        """
        now = self._loop.time()
        self.handler = handler
        self.used += 1
        self.received = False
        self._done = False
        self._in_head = True
        self.stall = stall
        self.total_at = total_at
        self.last_data = now
        self.deadline = now + first
        self.deadline_reason = "first_token_timeout"
        pool = self.pool
        pool.active.add(self)
        if not pool.sweeping:
            pool.watch()
        if len(request) == 1:
            self.write(request[0])
        else:
            if self.unsent:  # the end of an upload that was answered before it
                pool.writes.flush()
            self.transport.writelines(request)

    def send_more(self, data: bytes, first: float) -> None:
        """Continue a request body that is being streamed; the first-token deadline starts over."""
        self.deadline = self._loop.time() + first
        self.write(data)

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes of a request before the turn of the event loop ends."""
        self.pool.writes.write(self, data)

    def hold(self, held: bool, deadline: float) -> None:
        """Leave the rest of the answer in the kernel until ``deadline`` (loop time), or go on reading: then a stall
        counts from now.
        """
        if held is self.held or self.transport.is_closing():
            return
        self.held = held
        if held:
            self.transport.pause_reading()
            self.deadline = deadline
        else:
            self.transport.resume_reading()
            self.last_data = self._loop.time()
            self.deadline = 0.0

    def abort(self) -> None:
        """Give the exchange up: the socket is closed at once and the handler hears nothing more."""
        self.handler = None
        self._close()

    def fail(self, reason: Reason, message: str) -> None:
        """End the exchange with an error and close the socket."""
        handler, self.handler = self.handler, None
        self._close()
        if handler is not None:
            handler.on_fail(UpstreamError(reason, message))

    def _close(self) -> None:
        self.alive = False
        self.transport.abort()
        self.pool.discard(self)

    def is_overdue(self, now: float) -> bool:
        """Whether a deadline is over at ``now``, in loop time, by what was read of the answer so far."""
        if now >= self.total_at:
            return True
        if now < self.deadline:
            return False
        if self.deadline_reason == "stall_timeout" and now < self.last_data + self.stall:
            self.deadline = self.last_data + self.stall  # not moved with every piece: that is dear, and few come here
            return False
        return True

    def expire(self, now: float) -> None:
        """End the exchange for the deadline that is over."""
        if now >= self.total_at:
            self.fail("total_timeout", "The upstream did not finish within the total time allowed.")
        elif self.deadline_reason == "stall_timeout":
            self.fail("stall_timeout", f"The upstream sent nothing for {self.stall:g} seconds in mid-answer.")
        else:
            self.fail("first_token_timeout", "The upstream did not start to answer within the time allowed.")

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        if self.handler is None:
            # An idle connection has nothing to say: whatever this is, it isn't the answer to a request of ours.
            if self.alive:
                self._close()
            return
        self.received = True
        self.last_data = self._loop.time()
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.fail("protocol", "The upstream switched protocols unasked.")
            return
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _HeadTooLarge):
                self._fail_too_large()
            elif self.alive and not self._done:
                self.fail("protocol", f"The upstream's answer is not valid HTTP/1.1: {error}.")
            if not self._done:
                return
            self._dirty = True  # the answer is whole and counts; what follows it does not
        body = self._body
        if body and self.handler is not None:
            self._head_bytes = 0
            if self.deadline_reason == "first_token_timeout":
                # Headers alone are no token: some upstreams send them at once and then think.
                self.deadline_reason = "stall_timeout"
                self.deadline = 0.0
            whole = body[0] if len(body) == 1 else b"".join(body)
            body.clear()
            self.handler.on_data(whole)
        if self._done:
            if self.alive:  # the handler may have given the exchange up just now
                self._finish()
        elif self._head_bytes > MAX_HEAD_BYTES:
            self._fail_too_large()  # also trailers and chunk extensions without end

    def _fail_too_large(self) -> None:
        self.fail("too_large", f"The upstream's response head is larger than {MAX_HEAD_BYTES} bytes.")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        self._parser = None  # type: ignore[assignment]  # it refers back here, and cycles wait long for the collector
        self.pool.discard(self)
        handler, self.handler = self.handler, None
        if handler is None:
            return
        if exc is None and not self._in_head and _ends_with_connection(*self._head):
            handler.on_end()  # a body without length or chunks ends with the connection (RFC 9112 §6.3)
        elif self.received:
            handler.on_fail(UpstreamError("reset", "The upstream closed the connection in mid-answer."))
        else:
            message = "The upstream closed the connection without an answer."
            handler.on_fail(UpstreamError("reset", message))

    def pause_writing(self) -> None:
        self.writable = False
        if self.handler is not None:
            self.handler.on_writable(False)

    def resume_writing(self) -> None:
        self.writable = True
        if self.handler is not None:
            self.handler.on_writable(True)

    # httptools callbacks

    def on_message_begin(self) -> None:
        if self._done:
            raise _Unasked  # bytes after a complete answer: this connection can't be trusted with another

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # trailers are not relayed
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        headers, self._headers = self._headers, []
        if status < 200:
            return  # an interim answer; the final one follows (RFC 9110 §15.2)
        if self._head_bytes > MAX_HEAD_BYTES and sum(len(n) + len(v) + 4 for n, v in headers) > MAX_HEAD_BYTES:
            raise _HeadTooLarge  # it came in one read with its end
        self._head_bytes = 0
        self._in_head = False
        self._head = (status, headers)
        if self.handler is not None:
            self.handler.on_head(status, headers)

    def on_body(self, data: bytes) -> None:
        # All chunks of one read are handed over together: what arrived together needs no write for each.
        self._body.append(data)

    def on_message_complete(self) -> None:
        if not self._in_head:
            self._done = True
            # llhttp forgets this when the message is over, so it is asked in the callback.
            self._keep_alive = self._parser.should_keep_alive()

    def _finish(self) -> None:
        handler, self.handler = self.handler, None
        self._in_head = True
        if self._keep_alive and self.reusable and not self._dirty:
            if self.held:  # the answer ended in the very read that was one too much: the next one is to be read
                self.hold(False, 0.0)
            self.pool.release(self)
        else:
            self.pool.keep_session(self)
            self._close()
        if handler is not None:
            handler.on_end()


def _ends_with_connection(status: int, headers: Headers) -> bool:
    framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in headers)
    return not framed and status not in _BODILESS
