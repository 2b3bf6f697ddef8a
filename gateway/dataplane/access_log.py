"""The access log: one JSON line a request on standard error, without bodies or secrets.

Lines gather for a moment and are written by a thread, so that a slow reader of the log never holds up a request. The
buffer is bounded; lines that don't fit are counted, and the count is logged.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from gateway.contract.usage import UsageEvent

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange

FLUSH = 0.2  # seconds
MAX_BYTES = 4_194_304

_encoder = msgspec.json.Encoder()


class Line(Struct, omit_defaults=True, tag_field="logger", tag="gateway.access"):
    """What is logged of a request. ``ts`` is seconds since the epoch, durations are milliseconds."""

    ts: float
    request_id: str
    endpoint: str
    status: int
    outcome: str
    duration_ms: float
    credential: str | None = None
    organization: str | None = None
    model: str | None = None
    target: str | None = None
    attempts: int = 0
    first_token_ms: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    stream: bool = False
    error: str | None = None


class AccessLog:
    """Writes to a file descriptor, off the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, enabled: bool, fd: int = 2) -> None:
        self.enabled = enabled
        self._loop = loop
        self._fd = fd
        self._buffer = bytearray()
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing = False

    def access(self, event: UsageEvent) -> None:
        """Log an admitted request."""
        if not self.enabled:
            return
        started, first = event.started_ns, event.first_token_ns
        self._add(
            Line(
                started / 1e9,
                event.id,
                event.endpoint,
                event.status,
                event.outcome,
                (event.ended_ns - started) // 1000 / 1000,
                event.credential,
                event.organization,
                event.model,
                event.target,
                len(event.attempts),
                None if first is None else (first - started) // 1000 / 1000,
                event.tokens.prompt,
                event.tokens.completion,
                event.stream,
            )
        )

    def refused(self, exchange: Exchange, duration: float) -> None:
        """Log a request that was not admitted; ``duration`` is seconds."""
        if self.enabled:
            error = exchange.refusal.code if exchange.refusal is not None else None
            self._add(
                Line(
                    exchange.started_ns / 1e9,
                    exchange.id,
                    exchange.endpoint,
                    exchange.status,
                    "refused",
                    round(duration * 1000, 3),
                    credential=exchange.caller.name if exchange.caller is not None else None,
                    error=error,
                )
            )

    def _add(self, line: Line) -> None:
        if len(self._buffer) > MAX_BYTES:
            self._dropped += 1
            return
        _encoder.encode_into(line, self._buffer, -1)
        self._buffer += b"\n"
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._writing:
            self._timer = self._loop.call_later(FLUSH, self._flush)
            return
        if self._dropped:
            self._buffer += b'{"message":"access log lines dropped","count":%d}\n' % self._dropped
            self._dropped = 0
        data, self._buffer = self._buffer, bytearray()
        self._writing = True
        self._loop.run_in_executor(None, self._write, data).add_done_callback(self._written)

    def _written(self, _: object) -> None:
        self._writing = False

    def _write(self, data: bytearray) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            return  # nobody reads the log any more

    def close(self) -> None:
        """Write what is left."""
        if self._timer is not None:
            self._timer.cancel()
        self._write(self._buffer)
        self._buffer = bytearray()
