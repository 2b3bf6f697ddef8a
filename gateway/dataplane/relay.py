"""Relaying an event stream: whole events out of the upstream's bytes, through the plugins, to the client."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from gateway.dataplane.native import MessageEvents, ResponseEvents
from gateway.dataplane.native_said import MessageSaid, ResponseSaid
from gateway.dataplane.soundness import before_error, before_fault, is_sound
from gateway.dataplane.streaming import EventStream, OversizedEvent
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.sse import split_events

if TYPE_CHECKING:
    from gateway.dataplane.attempt import Attempt
    from gateway.dataplane.transcript import Said

QUEUED: Final = 262_144
"""Bytes that may wait for a plugin before the upstream is read no further."""

CLIENT, PLUGINS = 1, 2
"""Who may want the upstream to be read no further for now."""


class EventRelay:
    """The stream of one attempt. With plain hooks, or none, an event leaves within the callback it arrived in; for a
    hook that waits, events queue up and a task passes them on in order.
    """

    __slots__ = (
        "_attempt",
        "_chain",
        "_checked",
        "_failure",
        "_finished",
        "_last",
        "_pump",
        "_queue",
        "_queued",
        "_seam",
        "_strict",
        "events",
        "transcript",
    )

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        exchange = attempt.exchange
        self._chain = exchange.runtime.chain
        self.events = _events_of(attempt)
        self._strict = exchange.spec.generates
        self._checked = self._strict and attempt.inbound is None
        self._seam = exchange.seam  # where the client has a part of the answer already
        self.transcript = exchange.open_transcript(_reader_of(attempt))
        self._last = b""
        self._finished = False  # before an error came
        self._queue: deque[tuple[bytes | None, bool]] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._failure: UpstreamError | None = None
        self._queued = 0

    def feed(self, data: bytes) -> None:
        """The next bytes from the upstream. The first event of a read that holds more is sent before the rest of it is
        looked at: it is what users wait for.
        """
        exchange = self._attempt.exchange
        end = 0 if exchange.response_started else data.find(b"\n\n") + 2
        if 2 < end < len(data):
            self._feed(data[:end])
            exchange.wire.flush()
            if self._attempt.finished:
                return
            data = data[end:]
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        events = self.events
        try:
            out = events.feed(data)
        except OversizedEvent:
            self._attempt.fail("The upstream sent an event that is too large.")
            return
        if not out:
            return
        if self._strict:
            if events.failed and not self._finished:
                if not self._was_finished(out):
                    self._end_in_error(out)
                    return
                self._finished = True
            if self._checked and not is_sound(out):
                self._pass_on(before_fault(out), False)
                self._attempt.fail("The upstream sent an event that is not JSON.")
                return
        self._pass_on(out, events.done)

    def _was_finished(self, out: bytes) -> bool:
        """Whether the answer had said that it was finished before the error came: nobody can do better, and the client
        sees the end as it is.
        """
        if self.transcript is not None and self.transcript.said().complete:
            return True
        # It may have been said in the read before: how many events one brings must make no difference.
        return _says_finished(before_error(out)[0] or self._last)

    def _end_in_error(self, out: bytes) -> None:
        """The upstream reported an error within its stream: what came before it counts."""
        out, event = before_error(out)
        self._pass_on(out if is_sound(out) else before_fault(out), False)
        if not self._attempt.finished:
            self._attempt.end_in_report(event, waiting=self._pump is not None)

    def _pass_on(self, out: bytes, last: bool) -> None:
        """Whole events for the client, through the plugins."""
        if self._seam is not None:
            out = self._seam.join(out)
        if self.transcript is not None:
            self.transcript.add(out)
        if not out and not last:
            return
        chain = self._chain
        if chain.on_chunk:
            if chain.chunk_sync is None:
                self._enqueue(out, last)
                return
            exchange = self._attempt.exchange
            kept = []
            try:
                for event in split_events(out):
                    kept.append(chain.chunk_sync(exchange, event))
            except GatewayError as error:
                self._refuse(kept, error)
                return
            out = b"".join(kept)
        self._deliver(out, last)

    def _refuse(self, kept: list[bytes], error: GatewayError) -> None:
        # What came before the refused event goes out: how many events one read brings must make no difference.
        self._attempt.give(b"".join(kept))
        self._attempt.refuse(error)

    def _deliver(self, out: bytes, last: bool) -> None:
        self._last = out or self._last
        if not last:
            self._attempt.give(out)
            return
        # Only the last event has to wait for the usage event; what came with it goes out now.
        held = split_events(out)[-1] if out else out
        self._attempt.give(out[: len(out) - len(held)])
        self._attempt.end_with(held)

    def end(self) -> None:
        """The upstream ended its answer without ``[DONE]``."""
        events = self.events
        attempt = self._attempt
        if events.unterminated_done:
            self.feed(b"\n\n")
            if attempt.finished:
                return
        if self._queue is not None:
            self._enqueue(None, False)
            return
        generates = attempt.exchange.spec.generates
        complete = not generates or events.failed or events.summed or _says_finished(self._last)
        if not complete or events.partial:
            attempt.end_in(UpstreamError("reset", "The upstream's stream ended before its answer did."))
        else:
            attempt.end_with(events.end_mark if generates and not events.failed else b"")

    def fail(self, error: UpstreamError) -> bool:
        """The upstream failed. True: plugins still hold events that came before, and the failure waits behind them."""
        if self._pump is None:
            return False
        self._failure = error
        self._enqueue(None, False)
        return True

    def cancel(self) -> None:
        """Pass nothing more on."""
        if self._pump is not None:
            self._pump.cancel()

    # for plugins that wait in on_chunk

    def _enqueue(self, out: bytes | None, last: bool) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append((out, last))
        self._queued += len(out or b"")
        if self._queued > QUEUED:
            self._attempt.hold_upstream(PLUGINS, True)
        if self._pump is None:
            self._pump = self._attempt.exchange.wire.loop.create_task(self._run(self._queue))

    async def _run(self, queue: deque[tuple[bytes | None, bool]]) -> None:
        attempt = self._attempt
        kept: list[bytes] = []
        try:
            while queue and not attempt.finished:
                out, last = queue.popleft()
                if out is None:
                    self._queue = None
                    if self._failure is not None:
                        attempt.end_in(self._failure)
                    else:
                        self.end()
                    return
                kept = []
                for event in split_events(out):
                    kept.append(await self._chain.chunk(attempt.exchange, event))
                if attempt.finished:
                    return
                self._deliver(b"".join(kept), last)
                self._queued -= len(out)
                if self._queued <= QUEUED // 2:
                    attempt.hold_upstream(PLUGINS, False)
        except GatewayError as error:
            if not attempt.finished:
                self._refuse(kept, error)
        except (Exception, asyncio.CancelledError):
            # Also what a plugin awaited may have been cancelled; without a pump nothing would end the request.
            if not attempt.finished:
                message = "A plugin failed at an event of the stream."
                self._refuse(kept, GatewayError(Kind.INTERNAL, "plugin_failed", message))
        finally:
            self._pump = None


def _events_of(attempt: Attempt) -> EventStream:
    exchange = attempt.exchange
    if attempt.native:
        if exchange.spec.stateful:
            return ResponseEvents(attempt.target.vendor, exchange.endpoint)
        return MessageEvents(attempt.target.vendor, exchange.endpoint)
    return EventStream(exchange.hide_usage, attempt.target.vendor, exchange.endpoint)


def _reader_of(attempt: Attempt) -> Said | None:
    """What reads the events as they come, where those are not Chat's."""
    if not attempt.native:
        return None
    return ResponseSaid() if attempt.exchange.spec.stateful else MessageSaid()


def _says_finished(data: bytes) -> bool:
    return b'"finish_reason":"' in data or b'"finish_reason": "' in data
