"""A collector for tests: takes OTLP over HTTP, decodes it with OpenTelemetry's own messages, and keeps the spans."""

from __future__ import annotations

import gzip
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

PATIENCE = 30.0


@dataclass(frozen=True)
class Span:
    """One span. Ids are hexadecimal, ``parent`` is empty for a root, times are Unix nanoseconds."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """Serves ``POST /v1/traces`` at ``url`` within a block. ``status`` is what it answers, and ``mute`` that it never
    does; what it refuses it does not keep.
    """

    def __init__(self, status: int = 200, *, mute: bool = False) -> None:
        self.status = status
        self.mute = mute
        self.asked = 0
        self.paths: set[str] = set()
        self._ended = threading.Event()
        self._spans: list[Span] = []
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    def wait(self, count: int) -> list[Span]:
        """The spans, when there are so many. Raises ``TimeoutError`` when there aren't in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._spans) >= count, PATIENCE):
                raise TimeoutError(f"{len(self._spans)} spans came, not {count}")
            return list(self._spans)

    def wait_asked(self) -> None:
        """Wait until the collector was sent something. Raises ``TimeoutError``."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.asked > 0, PATIENCE):
                raise TimeoutError("nothing was exported")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector._take(self.path, body)
                if collector.mute:
                    collector._ended.wait(PATIENCE)
                    return
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Tests read the gateway's output, not this one's."""

        return Handler

    def _take(self, path: str, body: bytes) -> None:
        spans = spans_in(body) if self.status == 200 and not self.mute else []
        with self._changed:
            self.paths.add(path)
            self.asked += 1
            self._spans += spans
            self._changed.notify_all()


def spans_in(body: bytes) -> list[Span]:
    """The spans of one export."""
    found = []
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                found.append(
                    Span(
                        span.name,
                        span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        span.status.code == span.status.STATUS_CODE_ERROR,
                        _attributes(span.attributes),
                        resource,
                    )
                )
    return found


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in _typed(pairs)}


def _typed(pairs: Any) -> list[KeyValue]:
    return list(pairs)


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")


def ended(span: Span) -> bool:
    """Whether a span's times make sense."""
    return 0 < span.start <= span.end <= time.time_ns()
