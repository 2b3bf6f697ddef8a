"""Ids, sampling and headers of traces, and spans out of records."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind, StatusCode

from gateway.contract.usage import Tokens
from gateway.dataplane.otel import spans_of, traces_url
from gateway.dataplane.tracing import Record, TraceContext, Tracer, TracingError, read_traceparent, tracer_for
from gateway.dataplane.upstream.origin import Origin
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings import checks
from gateway.settings.faults import ConfigError
from gateway.settings.load import load
from gateway.settings.model import Telemetry
from tests.support.usage import MS, START, attempt, usage_event

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{PARENT}-01".encode()


def exchange(*headers: tuple[bytes, bytes], forwarded: bytes = b"", **changes: Any) -> Any:
    """As much of an exchange as a tracer looks at."""
    fields: dict[str, Any] = {
        "id": "req_1",
        "endpoint": "chat.completions",
        "spec": SimpleNamespace(path=b"/chat/completions"),
        "raw_headers": list(headers),
        "forwarded": forwarded,
        "attempts": [],
        "model": "small",
        "stream": False,
        "max_tokens": None,
        "started_ns": START,
        "status": 200,
        "outcome": "ok",
        "refusal": None,
        "caller": SimpleNamespace(name="demo", organization="acme"),
        "runtime": SimpleNamespace(pools={}),
    }
    return SimpleNamespace(**{**fields, **changes})


def tracer(sample: float = 1.0) -> tuple[Tracer, list[Record], list[float]]:
    records: list[Record] = []
    closed: list[float] = []
    return Tracer(Telemetry(traces=True, sample=sample), records.append, closed.append), records, closed


def test_a_valid_parent_is_read() -> None:
    assert read_traceparent(HEADER) == (int(TRACE, 16), int(PARENT, 16), True)
    assert read_traceparent(HEADER[:-2] + b"00") == (int(TRACE, 16), int(PARENT, 16), False)
    # Later versions may add fields behind those known (W3C Trace Context §4.3).
    assert read_traceparent(b"01" + HEADER[2:] + b"-more") == (int(TRACE, 16), int(PARENT, 16), True)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00",
        HEADER[:-1],
        HEADER + b"-more",
        HEADER + b"\n",
        b"ff" + HEADER[2:],
        HEADER.upper(),
        f"00-{'0' * 32}-{PARENT}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        b" " + HEADER,
    ],
)
def test_an_invalid_parent_is_none(header: bytes) -> None:
    assert read_traceparent(header) is None
    context = tracer()[0].begin(exchange((b"traceparent", header)))
    assert context.parent_id is None
    assert context.trace_id != int(TRACE, 16)


@given(st.binary(max_size=80))
def test_any_header_is_read_or_refused(header: bytes) -> None:
    found = read_traceparent(header)
    assert found is None or (0 < found[0] < 2**128 and 0 < found[1] < 2**64)


def test_two_parents_are_none() -> None:
    context = tracer()[0].begin(exchange((b"traceparent", HEADER), (b"traceparent", HEADER)))
    assert context.parent_id is None


def test_a_request_has_one_context() -> None:
    made, request = tracer()[0], exchange()
    assert made.begin(request) is made.begin(request)
    assert made.begin(exchange()).trace_id != made.begin(request).trace_id


def test_the_upstream_is_told_the_span_of_each_call() -> None:
    made = tracer()[0]
    kept = b"user-agent: me\r\ntracestate: vendor=1\r\n"
    request = exchange((b"traceparent", HEADER), forwarded=b"traceparent: " + HEADER + b"\r\n" + kept)
    made.propagate(request)
    context = made.begin(request)
    assert request.forwarded == kept + f"traceparent: 00-{TRACE}-{context.attempt_id(1):016x}-01\r\n".encode()
    request.attempts.append(attempt("connect", None))
    made.propagate(request)
    assert request.forwarded == kept + f"traceparent: 00-{TRACE}-{context.attempt_id(2):016x}-01\r\n".encode()
    assert len({context.span_id, context.attempt_id(1), context.attempt_id(2), int(PARENT, 16)}) == 4


def test_a_state_without_a_valid_parent_is_not_passed_on() -> None:
    made = tracer(0.0)[0]
    request = exchange((b"traceparent", b"bad"), forwarded=b"traceparent: bad\r\ntracestate: v=1\r\nuser-agent: me\r\n")
    made.propagate(request)
    kept, parent = request.forwarded.split(b"traceparent: ")
    assert kept == b"user-agent: me\r\n"
    assert parent.endswith(b"-00\r\n")


def test_the_client_decides_over_its_own_trace() -> None:
    nothing, records, _ = tracer(0.0)
    nothing.finish(exchange((b"traceparent", HEADER)), usage_event())
    assert len(records) == 1
    everything, records, _ = tracer(1.0)
    everything.finish(exchange((b"traceparent", HEADER[:-2] + b"00")), usage_event())
    everything.refused(exchange((b"traceparent", HEADER[:-2] + b"00")), 0.1)
    assert records == []


def test_a_share_of_the_other_traces_is_sampled() -> None:
    made, records, _ = tracer(0.25)
    for _ in range(4000):
        made.finish(exchange(), usage_event())
    assert 800 < len(records) < 1200  # five standard deviations are 137


def test_a_tracer_is_shared_until_the_last_has_released_it() -> None:
    made, _, closed = tracer()
    assert tracer_for(made.settings, made) is made
    made.release()
    assert closed == []
    made.release()
    assert closed == [0.0]


def test_off_means_none() -> None:
    assert tracer_for(Telemetry(traces=False), tracer()[0]) is None


def test_other_settings_are_another_tracer() -> None:
    made = tracer_for(Telemetry(traces=True, endpoint="http://127.0.0.1:9"), tracer()[0])
    assert made is not None
    assert made.settings.endpoint == "http://127.0.0.1:9"
    made.close(5.0)


def test_nothing_is_loaded_while_traces_are_off() -> None:
    program = (
        "import sys, gateway.dataplane.worker\n"
        "from gateway.dataplane.tracing import tracer_for\n"
        "from gateway.settings.model import Telemetry\n"
        "assert tracer_for(Telemetry(), None) is None\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf', 'requests'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gateway.dataplane.otel")
    for name in [name for name in sys.modules if name.startswith("opentelemetry.exporter")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    with pytest.raises(TracingError, match=r"pip install -e '\.\[otel\]' in the gateway's checkout"):
        tracer_for(Telemetry(traces=True), None)


def test_a_missing_extra_is_a_fault_of_the_configuration(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("telemetry:\n  traces: true\n")
    assert load(path, {}).telemetry.traces
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (fault,) = [fault for fault in caught.value.faults if fault.severity == "error"]
    assert (fault.path, fault.line) == ("telemetry.traces", 2)
    assert fault.hint == ".venv/bin/python -m pip install -e '.[otel]' in the gateway's checkout"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://collector/otlp", "https://collector/otlp/v1/traces"),
        ("https://collector/otlp/v1/traces", "https://collector/otlp/v1/traces"),
    ],
)
def test_where_traces_go(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url


def finished(event: Any, **changes: Any) -> Record:
    """The record of a request that was admitted."""
    made, records, _ = tracer()
    made.finish(exchange((b"host", b"gw.example:8080"), (b"traceparent", HEADER), **changes), event)
    return records[0]


def test_the_span_of_a_request_that_fell_back() -> None:
    pools: dict[str, Any] = {
        "away": SimpleNamespace(origin=Origin("https", "api.example", 443, "/v1")),
        "local": SimpleNamespace(origin=Origin("http", "localhost", 80, "", "/run/local.sock")),
    }
    attempts = [
        attempt("status_503", 503, provider="away", model="big"),
        attempt("connect", None, provider="away", model="big"),
        attempt(provider="local", model="tiny", started_ns=START + MS, duration_ns=MS),
    ]
    event = usage_event(
        attempts=attempts, provider="local", target="tiny", tokens=Tokens(5, 2, 7, 3), cost_nanos=1_500, stream=True
    )
    runtime = SimpleNamespace(pools=pools)
    record = finished(event, runtime=runtime, stream=True, max_tokens=64)
    request, first, second, third = spans_of(record, Resource({}))
    assert request.name == "chat small"
    assert request.kind is SpanKind.SERVER
    assert request.status.status_code is StatusCode.UNSET
    assert request.parent is not None
    assert request.parent.span_id == int(PARENT, 16)
    assert dict(request.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "local",
        "gen_ai.system": "local",
        "gen_ai.request.model": "small",
        "gen_ai.response.model": "tiny",
        "gen_ai.request.max_tokens": 64,
        "gen_ai.request.stream": True,
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.reasoning.output_tokens": 3,
        "gen_ai.response.time_to_first_chunk": 0.02,
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "server.address": "gw.example",
        "server.port": 8080,
        "gateway.request_id": "req_1",
        "gateway.outcome": "ok",
        "gateway.attempts": 3,
        "gateway.credential": "demo",
        "gateway.organization": "acme",
        "gateway.cost_dollars": 0.0000015,
    }
    for number, span in enumerate((first, second, third), 1):
        assert span.kind is SpanKind.CLIENT
        assert span.parent is not None
        assert span.parent.span_id == record.context.span_id
        assert span.context is not None
        assert span.context.span_id == record.context.attempt_id(number)
    assert first.name == "chat big"
    assert (first.attributes or {})["error.type"] == "503"
    assert (first.attributes or {})["server.address"] == "api.example"
    assert first.status.status_code is StatusCode.ERROR
    assert (second.attributes or {})["error.type"] == "connect"
    assert (second.attributes or {})["http.request.resend_count"] == 1
    assert "http.response.status_code" not in (second.attributes or {})
    assert third.name == "chat tiny"
    assert (third.attributes or {})["server.address"] == "/run/local.sock"
    assert "error.type" not in (third.attributes or {})
    assert (third.start_time, third.end_time) == (START + MS, START + 2 * MS)


@pytest.mark.parametrize(
    ("outcome", "status", "error", "failed"),
    [
        ("error", 502, "502", True),
        ("error", 400, "400", False),
        ("cut", 200, "cut", True),
        ("cancelled", 0, "cancelled", False),
    ],
)
def test_which_requests_failed(outcome: Any, status: int, error: str, failed: bool) -> None:
    event = usage_event(outcome=outcome, status=status)
    span = spans_of(finished(event, outcome=outcome, status=status), Resource({}))[0]
    assert (span.attributes or {})["error.type"] == error
    assert (span.status.status_code is StatusCode.ERROR) is failed


def test_a_refused_request_is_a_span_without_the_clients_words() -> None:
    made, records, _ = tracer()
    error = GatewayError(Kind.NOT_FOUND, "model_not_found", "no such model")
    made.refused(exchange(model="x" * 9999, status=404, refusal=error, caller=None, outcome="refused"), 0.002)
    (span,) = spans_of(records[0], Resource({}))
    attributes = span.attributes or {}
    assert span.name == "chat"
    assert attributes["error.type"] == "model_not_found"
    assert len(str(attributes["gen_ai.request.model"])) == 200
    assert (span.end_time or 0) - START == 2 * MS


@given(st.binary(max_size=300))
def test_any_host_header_makes_a_span(host: bytes) -> None:
    made, records, _ = tracer()
    made.finish(exchange((b"host", host)), usage_event())
    port = (spans_of(records[0], Resource({}))[0].attributes or {}).get("server.port", 0)
    assert isinstance(port, int)


def test_ids_never_run_over() -> None:
    context = TraceContext(1, 2**64 - 1, None, True, b"", "")
    assert [context.attempt_id(number) for number in (1, 2)] == [1, 1]
