"""The access log: one JSON line a request on standard error, without bodies or secrets.

Lines gather for a moment and are written by a thread, so that a slow reader of the log never holds up a request. The
buffer is bounded; lines that don't fit are counted, and the count is logged. ``docs/observability.md`` has the fields.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import threading
import time
from collections.abc import Iterator
from typing import Protocol

import msgspec

from gateway.contract.usage import UsageEvent
from gateway.dataplane.access_line import Line
from gateway.kernel.errors import GatewayError

FLUSH = 0.2  # seconds
MAX_BYTES = 4_194_304
LAST = 1.0  # seconds a reader gets for what is left when the worker ends
_LONGEST_TEXT = 100  # characters of an error's code: a plugin may make up its own
_WAIT = 200  # milliseconds between looks at whether the worker ends

_encoder = msgspec.json.Encoder()
_COMMA = ord(",")


class Caller(Protocol):
    """Whose credential it was."""

    @property
    def name(self) -> str: ...
    @property
    def organization(self) -> str: ...


class Refused(Protocol):
    """What is logged of a request that was not admitted."""

    @property
    def id(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def started_ns(self) -> int: ...
    @property
    def caller(self) -> Caller | None: ...
    @property
    def refusal(self) -> GatewayError | None: ...


class AccessLog:
    """Writes to a file descriptor, off the event loop. ``dropped`` counts the lines that were lost."""

    def __init__(self, loop: asyncio.AbstractEventLoop, enabled: bool, fd: int = 2) -> None:
        self.enabled = enabled
        self.dropped = 0
        self._loop = loop
        self._out = _Writer(fd)
        self._start = _start("info", "request")
        self._buffer = bytearray()
        self._untold = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[int] | None = None

    @property
    def buffered(self) -> int:
        """Bytes that wait to be written."""
        return len(self._buffer)

    def access(self, event: UsageEvent) -> None:
        """Log an admitted request."""
        if not self.enabled:
            return
        started, first, outcome, attempts = event.started_ns, event.first_token_ns, event.outcome, event.attempts
        self._add(
            Line(
                started / 1e9,
                event.id,
                event.endpoint,
                event.status,
                outcome,
                (event.ended_ns - started) // 1000 / 1000,
                event.credential,
                event.organization,
                event.model,
                event.target,
                event.provider,
                len(attempts),
                None if first is None else (first - started) // 1000 / 1000,
                event.tokens.prompt,
                event.tokens.completion,
                event.cost_nanos,
                event.stream,
                None if outcome == "ok" or not attempts else attempts[-1].reason,
            )
        )

    def refused(self, request: Refused, duration: float) -> None:
        """Log a request that was not admitted; ``duration`` is seconds."""
        if not self.enabled:
            return
        caller, refusal = request.caller, request.refusal
        self._add(
            Line(
                request.started_ns / 1e9,
                request.id,
                request.endpoint,
                request.status,
                "refused",
                round(duration * 1000, 3),
                None if caller is None else caller.name,
                None if caller is None else caller.organization,
                error=None if refusal is None else refusal.code[:_LONGEST_TEXT],
            )
        )

    def _add(self, line: Line) -> None:
        buffer = self._buffer
        if len(buffer) > MAX_BYTES:
            self.dropped += 1
            self._untold += 1
            return
        buffer += self._start
        end = len(buffer)
        _encoder.encode_into(line, buffer, end)
        buffer[end] = _COMMA  # in place of the brace that opens the line's own object
        buffer += b"\n"
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._writing is not None:
            self._timer = self._loop.call_later(FLUSH, self._flush)
            return
        data, self._buffer = self._take(), bytearray()
        self._writing = self._loop.run_in_executor(None, self._out.write, data)
        self._writing.add_done_callback(self._written)

    def _take(self) -> bytearray:
        if self._untold:
            told = b',"ts":%.6f,"count":%d}\n' % (time.time(), self._untold)
            self._buffer += _start("warning", "access log lines dropped") + told
            self._untold = 0
        return self._buffer

    def _written(self, done: asyncio.Future[int]) -> None:
        self._writing = None
        self.dropped += done.result()

    def close(self) -> None:
        """Write what is left, as far as somebody reads it within a second."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._out.end()
        self.dropped += self._out.write(self._take())
        self._buffer = bytearray()


def _start(level: str, message: str) -> bytes:
    """The beginning of a line, as :mod:`gateway.kernel.logs` has it; a comma and more fields must follow."""
    fields = {"level": level, "logger": "gateway.access", "pid": os.getpid(), "message": message}
    return _encoder.encode(fields)[:-1]


class _Writer:
    """Writes whole lines. Into a pipe that several processes share they go in pieces the kernel keeps together."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._until = float("inf")
        try:
            self._pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
        except OSError:
            self._pipe = False

    def end(self) -> None:
        """From now on nobody is waited for longer than a second."""
        self._until = time.monotonic() + LAST

    def write(self, data: bytearray) -> int:
        """Write lines; returns how many were lost because nobody reads them."""
        if not self._lock.acquire(timeout=-1 if self._until == float("inf") else 2 * LAST):
            return data.count(b"\n")
        try:
            written = 0
            for start, end in self._pieces(data):
                if not self._write_piece(memoryview(data)[start:end]):
                    break
                written = end
            return data.count(b"\n", written)
        finally:
            self._lock.release()

    def _pieces(self, data: bytearray) -> Iterator[tuple[int, int]]:
        """Spans of whole lines that one write keeps together (pipe(7), "PIPE_BUF")."""
        start = 0
        while start < len(data):
            end = len(data)
            if self._pipe and end - start > select.PIPE_BUF:
                end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1 or data.find(b"\n", start) + 1
            yield start, end
            start = end

    def _write_piece(self, piece: memoryview) -> bool:
        poller = select.poll()
        if self._pipe:
            poller.register(self._fd, select.POLLOUT)
        while piece:
            try:
                # A pipe nobody reads must not hold the thread when the worker ends.
                if self._pipe and not poller.poll(_WAIT):
                    if time.monotonic() > self._until:
                        return False
                    continue
                written = os.write(self._fd, piece)
                piece = piece[written:]
            except BlockingIOError:
                time.sleep(_WAIT / 1000)
                if time.monotonic() > self._until:
                    return False
            except OSError:
                return False  # nobody reads the log any more
        return True
