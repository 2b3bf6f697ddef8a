"""Spans out of records, and on their way to a collector by OTLP over HTTP.

Imported only where traces are on. Attributes are those of OpenTelemetry's semantic conventions for generative AI and
for HTTP; ``gen_ai.system`` is the earlier name of ``gen_ai.provider.name`` and is given too, as backends still read it.
The exporter is told by the standard ``OTEL_EXPORTER_OTLP_*`` variables what ``gateway.yaml`` does not say.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

import gateway
from gateway.contract.usage import Attempt
from gateway.dataplane.exposition import OPERATIONS
from gateway.dataplane.tracing import Record

_PATH = "/v1/traces"
_SCOPE = InstrumentationScope("gateway", gateway.__version__)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)

Attributes = dict[str, Any]


class _Pending(ReadableSpan):
    """A record on its way through the processor's queue, which asks of a span only whether it is sampled."""

    _context = SpanContext(1, 1, is_remote=False, trace_flags=_SAMPLED)

    def __init__(self, record: Record) -> None:
        self.record = record


class _Converting(SpanExporter):
    """Makes spans of records, in the processor's thread, and hands them to the real exporter."""

    def __init__(self, exporter: SpanExporter, resource: Resource) -> None:
        self._exporter = exporter
        self._resource = resource

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        pending = (span.record for span in spans if isinstance(span, _Pending))
        return self._exporter.export([span for record in pending for span in spans_of(record, self._resource)])

    def shutdown(self) -> None:
        self._exporter.shutdown()


def start(endpoint: str | None) -> tuple[Callable[[Record], None], Callable[[float], None]]:
    """Start exporting. Returns what takes a record, and what ends it all within so many seconds."""
    exporter = OTLPSpanExporter(endpoint=traces_url(endpoint) if endpoint is not None else None)
    processor = BatchSpanProcessor(_Converting(exporter, _resource()))

    def emit(record: Record) -> None:
        processor.on_end(_Pending(record))

    def close(wait: float) -> None:
        # The processor itself would wait half a minute for a collector that is gone.
        ending = threading.Thread(target=processor.shutdown, name="traces-end", daemon=True)
        ending.start()
        if wait > 0:
            ending.join(wait)

    return emit, close


def traces_url(endpoint: str) -> str:
    """Where traces go: ``/v1/traces`` below a collector's base URL, unless that is what was given (OTLP, "HTTP")."""
    base = endpoint.rstrip("/")
    return base if base.endswith(_PATH) else base + _PATH


def _resource() -> Resource:
    ours = Resource.create({"service.name": "llm-gateway", "service.version": gateway.__version__})
    return ours.merge(OTELResourceDetector().detect())  # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win


def spans_of(record: Record, resource: Resource) -> list[ReadableSpan]:
    """The span of a request and below it those of its calls to upstreams."""
    context = record.context
    operation = OPERATIONS.get(record.endpoint, record.endpoint)
    remote = context.parent_id
    parent = None if remote is None else SpanContext(context.trace_id, remote, is_remote=True, trace_flags=_SAMPLED)
    own = SpanContext(context.trace_id, context.span_id, is_remote=False, trace_flags=_SAMPLED)
    failed = record.status >= 500 or record.outcome == "cut"
    request = ReadableSpan(
        f"{operation} {record.model}" if record.outcome != "refused" and record.model else operation,
        context=own,
        parent=parent,
        resource=resource,
        attributes=_request_attributes(record, operation),
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR, record.error) if failed else Status(StatusCode.UNSET),
        start_time=record.started_ns,
        end_time=record.ended_ns,
        instrumentation_scope=_SCOPE,
    )
    calls = (_call(record, operation, own, number, attempt) for number, attempt in enumerate(record.attempts, 1))
    return [request, *(ReadableSpan(resource=resource, instrumentation_scope=_SCOPE, **call) for call in calls)]


def _call(record: Record, operation: str, parent: SpanContext, number: int, attempt: Attempt) -> dict[str, Any]:
    span_id = record.context.attempt_id(number)
    error = None if attempt.reason == "ok" else attempt.reason.removeprefix("status_")
    return {
        "name": f"{operation} {attempt.model}",
        "context": SpanContext(record.context.trace_id, span_id, is_remote=False, trace_flags=_SAMPLED),
        "parent": parent,
        "kind": SpanKind.CLIENT,
        "attributes": _call_attributes(record, operation, number, attempt, error),
        "status": Status(StatusCode.UNSET) if error is None else Status(StatusCode.ERROR, attempt.reason),
        "start_time": attempt.started_ns,
        "end_time": attempt.started_ns + attempt.duration_ns,
    }


def _request_attributes(record: Record, operation: str) -> Attributes:
    host, _, port = (
        record.context.host.partition(":") if "[" not in record.context.host else (record.context.host, "", "")
    )
    tokens = record.tokens
    first = record.first_token_ns
    return _known(
        {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": record.provider,
            "gen_ai.system": record.provider,
            "gen_ai.request.model": record.model or None,
            "gen_ai.response.model": record.target,
            "gen_ai.request.max_tokens": record.max_tokens,
            "gen_ai.request.stream": record.stream,
            "gen_ai.usage.input_tokens": tokens.prompt if tokens else None,
            "gen_ai.usage.output_tokens": tokens.completion if tokens else None,
            "gen_ai.usage.cache_read.input_tokens": tokens.cached or None if tokens else None,
            "gen_ai.usage.reasoning.output_tokens": tokens.reasoning or None if tokens else None,
            "gen_ai.response.time_to_first_chunk": (first - record.started_ns) / 1e9 if first else None,
            "http.request.method": "POST",
            "http.route": "/v1" + record.path.decode(),
            "http.response.status_code": record.status or None,
            "server.address": host or None,
            "server.port": int(port) if port.isdecimal() and len(port) < 6 else None,
            "error.type": record.error,
            "gateway.request_id": record.id,
            "gateway.outcome": record.outcome,
            "gateway.attempts": len(record.attempts),
            "gateway.credential": record.credential,
            "gateway.organization": record.organization,
            "gateway.cost_dollars": record.cost_nanos / 1e9 if record.cost_nanos is not None else None,
        }
    )


def _call_attributes(record: Record, operation: str, number: int, attempt: Attempt, error: str | None) -> Attributes:
    pool = record.pools.get(attempt.provider)
    origin = pool.origin if pool is not None else None
    return _known(
        {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": attempt.provider,
            "gen_ai.system": attempt.provider,
            "gen_ai.request.model": attempt.model,
            "http.request.method": "POST",
            "http.request.resend_count": number - 1 or None,
            "http.response.status_code": attempt.status,
            "server.address": (origin.socket or origin.host) if origin is not None else None,
            "server.port": origin.port if origin is not None and not origin.socket else None,
            "error.type": error,
        }
    )


def _known(attributes: Attributes) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}
