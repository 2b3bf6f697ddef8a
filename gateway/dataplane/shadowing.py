"""Copies of requests for another model, whose answers nobody gets: they are counted and thrown away.

A copy has nothing of its request but its own bytes. It begins after the request itself was sent, takes no connection
that others wait for, is never tried twice, and has a budget of its own. See ``docs/resilience.md``.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

from gateway.contract.usage import Attempt as AttemptRecord
from gateway.contract.usage import Tokens, UsageEvent
from gateway.dataplane import body as bodies
from gateway.dataplane.admission.limiter import BYTES_PER_TOKEN, DEFAULT_COMPLETION_TOKENS
from gateway.dataplane.breaker import CLOSED
from gateway.dataplane.pricing import cost_of, worst_case
from gateway.dataplane.streaming import EventStream, OversizedEvent
from gateway.dataplane.translating import Inbound, outgoing, usage_apart
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.dataplane.usage import read_answer
from gateway.kernel.errors import GatewayError

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.routing import Route
    from gateway.dataplane.target import Target
    from gateway.dataplane.upstream.connection import Connection, Headers
    from gateway.settings.model import Shadow

LARGEST: Final = 1_048_576
"""Bytes of a request that is copied at most, and of an answer that is kept to be counted."""
_DAY: Final = 86_400
_HEAD: Final = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"


class Spending:
    """What all copies of a model cost in a day (UTC), in nano-dollars; what is under way counts at its worst case."""

    __slots__ = ("_day", "nanos")

    def __init__(self) -> None:
        self._day = 0
        self.nanos = 0

    def take(self, nanos: int, most: int, now: float) -> bool:
        """Whether so much more may be spent at Unix time ``now``; it is counted then."""
        day = int(now) // _DAY
        if day != self._day:
            self._day, self.nanos = day, 0
        if self.nanos + nanos > most:
            return False
        self.nanos += nanos
        return True

    def settle(self, taken: int, spent: int) -> None:
        """What was taken has become what was spent."""
        self.nanos = max(0, self.nanos + spent - taken)


class Mirror:
    """Makes copies of a model's requests for another one. Counts those it ``made`` and those it ``passed`` over."""

    def __init__(self, settings: Shadow, route: Route, workers: int) -> None:
        self.route = route
        self.spending = Spending()
        self.running = 0
        self.made = 0
        self.passed = 0
        self._share = settings.share
        self._most = int(settings.budget * 1e9 / workers)
        self._concurrency = settings.concurrency

    def take_over(self, previous: Mirror) -> None:
        """Go on with what a configuration before this one has spent and counted."""
        self.spending = previous.spending
        self.made, self.passed = previous.made, previous.passed

    def reflect(self, exchange: Exchange, first: Target) -> None:
        """Copy a request, or let it pass: by chance, where it goes to the same target first itself, or where budget,
        room or target are lacking. Takes no time.
        """
        fields = exchange.fields
        if fields is None or (self._share < 1.0 and random.random() >= self._share):
            return
        target = self._target(exchange)
        if target is first:
            return
        if target is None or target.rate is None or self.running >= self._concurrency or len(exchange.raw) > LARGEST:
            self.passed += 1
            return
        prompt = len(exchange.raw) // BYTES_PER_TOKEN + 1
        completion = 0
        if exchange.spec.generates:
            completion = exchange.max_tokens or DEFAULT_COMPLETION_TOKENS * bodies.choices_of(fields)
        taken = worst_case(target.rate, prompt, completion)
        if taken is None or not self.spending.take(taken, self._most, time.time()):
            self.passed += 1
            return
        self.running += 1
        self.made += 1
        if target.limit is not None:
            target.limit.take()
        copy = Copy(self, exchange, target, taken)
        # In the next turn, when the request itself has been sent; the client's bytes are held no longer than that.
        exchange.wire.loop.call_soon(copy.start, dict(fields))

    def _target(self, exchange: Exchange) -> Target | None:
        now = exchange.wire.loop.time()
        for target in self.route.candidates(exchange.endpoint, now):
            if target.breaker.state == CLOSED and not target.pool.waiting and target.has_room:
                return target
        return None

    def ended(self, taken: int, spent: int) -> None:
        """A copy is over."""
        self.running -= 1
        self.spending.settle(taken, spent)


class Copy:
    """One copied request: the handler of its own upstream connection."""

    def __init__(self, mirror: Mirror, exchange: Exchange, target: Target, taken: int) -> None:
        caller = exchange.caller
        assert caller is not None
        self._mirror = mirror
        self._target = target
        self._limit = target.limit
        self._taken = taken
        self._worker = exchange.wire.worker
        self._loop = exchange.wire.loop
        self._id = exchange.id
        self._model = exchange.model
        self._spec = exchange.spec
        self._stream = exchange.stream
        self._credential, self._organization, self._user = caller.id, caller.organization, caller.user
        self._started_ns = time.time_ns()
        self._first_ns: int | None = None
        self._size = 0
        self._status: int | None = None
        self._events: EventStream | None = None
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._inbound: Inbound | None = None
        self._connection: Connection | None = None
        self._dialling: asyncio.Task[None] | None = None

    def start(self, fields: bodies.Fields) -> None:
        """Send it, where the target can be asked such a thing at all."""
        try:
            self._start(fields)
        except GatewayError:
            self._end("unsupported")

    def _start(self, fields: bodies.Fields) -> None:
        target = self._target
        fields["model"] = target.model_raw
        if self._stream and self._spec.generates:
            bodies.ask_for_usage(fields)
        if self._spec.protocol is not None or target.translator is not None:
            # Nobody gets the answer: what the target can't say is left out.
            sent = outgoing(fields, target, self._spec, ("*",))
            head, body, framing = sent.head, sent.body, sent.framing
            if sent.memo is not None and target.translator is not None:
                self._inbound = Inbound(target.translator, sent.memo)
        else:
            head, body = target.head_for(self._spec.path), bodies.encode(fields)
            framing = _HEAD % len(body)
        if target.local:
            head += f"x-gateway-organization: {self._organization}\r\n".encode("latin-1", "replace")
            head += b"x-gateway-usage: each\r\n"
        self._size = len(body)
        request = head + framing + body
        connection = target.pool.take_idle()
        if connection is not None:
            self._send(connection, request)
        else:
            self._dialling = self._loop.create_task(self._dial(request))

    async def _dial(self, request: bytes) -> None:
        try:
            deadline = self._loop.time() + self._target.provider.timeouts.first_token
            connection = await self._target.pool.acquire(deadline, None, self._organization)
        except UpstreamError as error:
            self._end(error.reason)
            return
        self._send(connection, request)

    def _send(self, connection: Connection, request: bytes) -> None:
        self._connection = connection
        timeouts = self._target.provider.timeouts
        connection.reusable = True
        total_at = self._loop.time() + timeouts.total
        connection.send(self, [request], timeouts.first_token, timeouts.stall, total_at)

    # gateway.dataplane.upstream.connection.Handler

    def on_head(self, status: int, headers: Headers) -> None:
        self._status = status
        translator = self._target.translator
        stream_type = b"text/event-stream" if translator is None else translator.stream_type
        for name, value in headers:
            if name == b"content-type" and value.partition(b";")[0].strip().lower() == stream_type:
                self._events = EventStream(False, self._target.vendor, self._spec.name)

    def on_data(self, data: bytes) -> None:
        if self._first_ns is None:
            self._first_ns = time.time_ns()
        if self._events is not None:
            try:
                self._events.feed(data if self._inbound is None else self._inbound.feed(data))
            except OversizedEvent:
                self._give_up("too_large")
            except ValueError:
                self._give_up("protocol")
            return
        self._kept_bytes += len(data)
        if self._kept_bytes > LARGEST:
            self._give_up("too_large")
        else:
            self._kept.append(data)

    def on_end(self) -> None:
        status = self._status or 0
        if status >= 300:
            self._end(f"status_{status}")
        elif self._events is not None and self._events.failed:
            self._end("stream_error")
        else:
            self._end("ok")

    def on_fail(self, error: UpstreamError) -> None:
        self._end(error.reason)

    def on_writable(self, writable: bool) -> None:
        """Nothing more is sent."""

    def _give_up(self, reason: str) -> None:
        if self._connection is not None:
            self._connection.abort()
        self._end(reason)

    def _end(self, reason: str) -> None:
        tokens = self._tokens()
        rate = self._target.rate
        cost = (cost_of(rate, tokens) or 0) if rate is not None else 0
        self._mirror.ended(self._taken, cost)
        if self._limit is not None:
            self._limit.release(None)
        now = time.time_ns()
        target = self._target
        started = self._started_ns
        attempt = AttemptRecord(
            target.provider.name, target.model, started, now - started, self._status, reason, tokens, cost
        )
        event = UsageEvent(
            f"{self._id}-shadow",
            self._spec.name,
            started,
            self._first_ns,
            now,
            self._credential,
            self._organization,
            self._mirror.route.name,
            target.provider.name,
            target.model,
            [attempt],
            Tokens(),
            False,
            self._stream,
            "shadow",
            self._status or 0,
            0,
            {"shadow_of": self._id, "asked": self._model},
            self._user,
        )
        self._worker.sink.append(event, _nobody_waits)

    def _tokens(self) -> Tokens:
        """What the upstream told, else an estimate of what it has produced; nothing where it refused."""
        if self._status is None or self._status >= 300:
            return Tokens()
        told = None
        vendor, endpoint = self._target.vendor, self._spec.name
        if self._events is not None:
            told = self._events.tokens
        elif self._kept:
            body = b"".join(self._kept)
            try:
                if self._inbound is not None:
                    body = self._inbound.whole(self._status, body)[1]
                    if self._inbound.media is not None:
                        body = usage_apart(self._inbound.media)
                told = read_answer(body, vendor, endpoint)[0]
            except ValueError:  # msgspec's faults are such, too
                told = None
        if told is not None:
            return told
        produced = self._events.events if self._events is not None else 0
        return Tokens(prompt=self._size // BYTES_PER_TOKEN, completion=produced)


def _nobody_waits() -> None:
    """No answer is held until the event is safe."""
