"""Traces: a span for each request and one for each call to an upstream, made after the fact.

Off, a request pays for one ``if``. On, it pays for its ids, which the upstream is told, and for one entry in a bounded
queue; :mod:`gateway.dataplane.otel` makes spans of the entries in a thread. The client's trace is continued (W3C Trace
Context §2.2 and §4).
"""

from __future__ import annotations

import importlib
import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from gateway.contract.usage import Attempt, Tokens, UsageEvent
from gateway.dataplane.exposition import error_type
from gateway.dataplane.upstream.pool import Pool
from gateway.settings.model import Telemetry

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z", re.DOTALL)
_LOW = 2**64 - 1
_LONGEST_MODEL = 200


class TracingError(ValueError):
    """Traces are on and cannot be made."""


class TraceContext(NamedTuple):
    """The ids of a request's span. ``forwarded`` is the client's forwarded headers without those of the trace it is in
    if that has to be replaced; ``host`` is the name the client called.
    """

    trace_id: int
    span_id: int
    parent_id: int | None
    sampled: bool
    forwarded: bytes
    host: str

    def attempt_id(self, number: int) -> int:
        """The id of the span of the request's ``number``-th call to an upstream, counted from 1."""
        return (self.span_id + number) & _LOW or 1


class Record(Struct, gc=False):
    """What the spans of one request are made of. Nothing in it is a part of a body."""

    context: TraceContext
    id: str
    endpoint: str
    path: bytes
    model: str
    started_ns: int
    ended_ns: int
    first_token_ns: int | None
    status: int
    outcome: str
    error: str | None
    stream: bool
    max_tokens: int | None
    credential: str | None
    organization: str | None
    pools: dict[str, Pool]
    provider: str | None = None
    target: str | None = None
    attempts: list[Attempt] = []
    tokens: Tokens | None = None
    cost_nanos: int | None = None


class Tracer:
    """Begins and ends the traces of one configuration or of several that trace alike; the last one closes it.

    ``emit`` takes a record and must neither wait nor fail; ``close`` gets the seconds it may take.
    """

    def __init__(self, settings: Telemetry, emit: Callable[[Record], None], close: Callable[[float], None]) -> None:
        self.settings = settings
        self._bound = int(settings.sample * 2**64)
        self._emit = emit
        self._close = close
        self._users = 1

    def share(self) -> Tracer:
        """For one more configuration."""
        self._users += 1
        return self

    def release(self) -> None:
        """One configuration is done with it."""
        self._users -= 1
        if not self._users:
            self._close(0.0)

    def close(self, wait: float) -> None:
        """The process ends: wait so many seconds for what is not yet exported."""
        self._close(wait)

    def begin(self, exchange: Exchange) -> TraceContext:
        """The context of a request, made when it is first asked for."""
        context = getattr(exchange, "trace", None)
        if context is None:
            context = exchange.trace = self._context(exchange)
        return context

    def _context(self, exchange: Exchange) -> TraceContext:
        parents, host = [], b""
        for name, value in exchange.raw_headers:
            if name == b"traceparent":
                parents.append(value)
            elif name == b"host":
                host = value
        parent = read_traceparent(parents[0]) if len(parents) == 1 else None
        span_id = random.getrandbits(64) or 1
        address = host.decode("latin-1")[:255]
        if parent is not None:
            trace_id, parent_id, sampled = parent
            forwarded = _without(exchange.forwarded, b"traceparent:")
            return TraceContext(trace_id, span_id, parent_id, sampled, forwarded, address)
        trace_id = random.getrandbits(128) or 1
        # A state without a valid parent belongs to nothing (W3C Trace Context §4.3).
        forwarded = _without(exchange.forwarded, b"traceparent:", b"tracestate:")
        return TraceContext(trace_id, span_id, None, trace_id & _LOW < self._bound, forwarded, address)

    def propagate(self, exchange: Exchange) -> None:
        """Tell the upstream of the call that is about to be made which span it belongs to."""
        context = self.begin(exchange)
        exchange.forwarded = b"%btraceparent: 00-%032x-%016x-%02x\r\n" % (
            context.forwarded,
            context.trace_id,
            context.attempt_id(len(exchange.attempts) + 1),
            context.sampled,
        )

    def finish(self, exchange: Exchange, event: UsageEvent) -> None:
        """An admitted request is over."""
        context = self.begin(exchange)
        if context.sampled:
            record = _record(exchange, context, event.model, event.started_ns, event.ended_ns)
            record.error = _error_of(exchange)
            record.first_token_ns = event.first_token_ns
            record.provider, record.target, record.attempts = event.provider, event.target, event.attempts
            record.tokens, record.cost_nanos = event.tokens, event.cost_nanos
            self._emit(record)

    def refused(self, exchange: Exchange, seconds: float) -> None:
        """A request that was not admitted is over, after ``seconds``."""
        context = self.begin(exchange)
        if context.sampled:
            ended = exchange.started_ns + int(seconds * 1e9)
            record = _record(exchange, context, exchange.model[:_LONGEST_MODEL], exchange.started_ns, ended)
            record.outcome = "refused"
            record.error = _error_of(exchange)
            self._emit(record)


def _record(exchange: Exchange, context: TraceContext, model: str, started_ns: int, ended_ns: int) -> Record:
    caller = exchange.caller
    return Record(
        context=context,
        id=exchange.id,
        endpoint=exchange.endpoint,
        path=exchange.spec.path,
        model=model,
        started_ns=started_ns,
        ended_ns=ended_ns,
        first_token_ns=None,
        status=exchange.status,
        outcome=exchange.outcome,
        error=None,
        stream=exchange.stream,
        max_tokens=exchange.max_tokens,
        credential=None if caller is None else caller.name,
        organization=None if caller is None else caller.organization,
        pools=exchange.runtime.pools,
    )


def _error_of(exchange: Exchange) -> str | None:
    if exchange.refusal is not None:
        return exchange.refusal.code
    return error_type(exchange.outcome, exchange.status)


def read_traceparent(value: bytes) -> tuple[int, int, bool] | None:
    """Trace id, parent id and whether it is sampled, or None where the header is invalid (W3C Trace Context §3.2)."""
    match = _TRACEPARENT.match(value)
    if match is None:
        return None
    version, trace_id, parent_id, flags, rest = match.groups()
    if version == b"ff" or (version == b"00" and rest is not None):
        return None
    trace, parent = int(trace_id, 16), int(parent_id, 16)
    return (trace, parent, bool(int(flags, 16) & 1)) if trace and parent else None


def _without(lines: bytes, *names: bytes) -> bytes:
    return b"".join(line for line in lines.splitlines(keepends=True) if not line.startswith(names))


def tracer_for(settings: Telemetry, previous: Tracer | None) -> Tracer | None:
    """What traces a configuration: ``previous`` where nothing about traces changed. Raises :class:`TracingError`."""
    if not settings.traces:
        return None
    if previous is not None and previous.settings == settings:
        return previous.share()
    try:
        # OpenTelemetry is an extra, and takes a while to load: only who turns traces on needs it.
        otel = importlib.import_module("gateway.dataplane.otel")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        message = (
            "telemetry.traces needs OpenTelemetry, which is not installed: "
            ".venv/bin/python -m pip install -e '.[otel]' in the gateway's checkout"
        )
        raise TracingError(message) from error
    emit, close = otel.start(settings.endpoint)
    return Tracer(settings, emit, close)
