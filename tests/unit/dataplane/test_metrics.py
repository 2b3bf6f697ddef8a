"""What is counted, and how it is told."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.usage import Tokens
from gateway.dataplane import metrics as module
from gateway.dataplane.beside import up
from gateway.dataplane.exposition import COUNTERS, GAUGES, LARGEST, LEAST, error_type, families
from gateway.dataplane.metrics import SECONDS, Metrics
from gateway.dataplane.snapshots import merge
from gateway.kernel.errors import GatewayError, Kind
from gateway.sidecar.exposition import families as of_sidecar
from tests.support.scraped import Scraped, written
from tests.support.sidecar_numbers import numbers
from tests.support.usage import MS, START, attempt, usage_event

ROOT = Path(__file__).resolve().parents[3]
GEN_AI = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "fake", "gen_ai_request_model": "small"}


def told(*metrics: Metrics) -> Scraped:
    """The scrape over some workers; both forms must say the same."""
    total = merge((each.snapshot(1) for each in metrics), LARGEST, LEAST)
    plain, strict = written(families(total, [("worker-0", os.getpid())]))
    assert {(s.name, *sorted(s.labels.items())): s.value for s in plain.samples} == {
        (s.name, *sorted(s.labels.items())): s.value for s in strict.samples
    }
    return plain


def refused(code: str | None, status: int = 429) -> Any:
    error = GatewayError(Kind.RATE_LIMITED, code, "no") if code is not None else None
    return SimpleNamespace(endpoint="chat.completions", status=status, refusal=error)


def test_a_request_is_counted_once_everywhere() -> None:
    metrics = Metrics()
    tokens = Tokens(prompt=100, cached=40, completion=29, reasoning=9)
    metrics.served(usage_event(tokens=tokens, stream=True, cost_nanos=2_500_000, estimated=True))
    scraped = told(metrics)
    series = {"model": "small", "provider": "fake", "target": "fake-chat", "status": "200", "outcome": "ok"}
    assert scraped.sum("gateway_requests_total", **series) == 1
    assert scraped.sum("gateway_attempts_total", **series) == 1
    assert scraped.sum("gateway_usage_estimated_total", **series) == 1
    assert scraped.sum("gateway_cost_dollars_total", **series) == pytest.approx(0.0025)
    for kind, count in (("input", 100), ("cached_input", 40), ("output", 29), ("reasoning", 9)):
        assert scraped.sum("gateway_tokens_total", type=kind, **series) == count
    assert scraped.sum("gen_ai_client_token_usage_sum", gen_ai_token_type="input", **GEN_AI) == 100
    assert scraped.sum("gen_ai_server_request_duration_seconds_sum", **GEN_AI) == pytest.approx(0.3)
    assert scraped.sum("gen_ai_server_time_to_first_token_seconds_sum", **GEN_AI) == pytest.approx(0.02)
    assert scraped.sum("gen_ai_server_time_per_output_token_seconds_sum", **GEN_AI) == pytest.approx(0.01)
    assert scraped.sum("gateway_upstream_errors_total") == 0


def test_a_whole_answer_has_no_time_between_tokens() -> None:
    metrics = Metrics()
    metrics.served(usage_event(stream=False))
    metrics.served(usage_event(stream=True, tokens=Tokens(prompt=1, completion=1)))
    metrics.served(usage_event(stream=True, first_token_ns=None))
    assert told(metrics).sum("gen_ai_server_time_per_output_token_seconds_count") == 0
    assert told(metrics).sum("gen_ai_server_time_to_first_token_seconds_count") == 2


@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=30))
def test_buckets_hold_what_took_no_longer(durations: list[int]) -> None:
    metrics = Metrics()
    for took in durations:
        metrics.served(usage_event(ended_ns=START + took * MS))
    scraped = told(metrics)
    for bound in SECONDS:
        found = scraped.sum("gen_ai_server_request_duration_seconds_bucket", le=str(bound))
        assert found == sum(took <= bound * 1000 for took in durations)
    assert scraped.sum("gen_ai_server_request_duration_seconds_bucket", le="+Inf") == len(durations)


@pytest.mark.parametrize("claimed", [-5, 2**40, 10**30])
def test_tokens_nobody_can_have_used_are_not_believed(claimed: int) -> None:
    metrics = Metrics()
    metrics.served(usage_event(tokens=Tokens(prompt=claimed, completion=claimed), stream=True))
    assert told(metrics).sum("gateway_tokens_total") == 0
    assert told(metrics).sum("gateway_requests_total") == 1


def test_failed_attempts_are_counted_by_reason() -> None:
    metrics = Metrics()
    attempts = [attempt("connect", None), attempt("status_503", 503, provider="other"), attempt()]
    metrics.served(usage_event(attempts=attempts))
    metrics.served(usage_event(attempts=[attempt("connect", None)], outcome="error", status=502))
    metrics.served(usage_event(attempts=[], outcome="cached", provider=None, target=None))
    scraped = told(metrics)
    assert scraped.sum("gateway_upstream_errors_total", provider="fake", reason="connect") == 2
    assert scraped.sum("gateway_upstream_errors_total", provider="other", reason="status_503") == 1
    assert scraped.sum("gateway_upstream_errors_total") == 3
    assert scraped.sum("gateway_attempts_total") == 4
    assert scraped.sum("gen_ai_server_request_duration_seconds_count", error_type="502") == 1
    assert scraped.sum("gateway_requests_total", outcome="cached", provider="", target="") == 1


@pytest.mark.parametrize(
    ("outcome", "status", "expected"),
    [
        ("ok", 200, None),
        ("cached", 200, None),
        ("error", 502, "502"),
        ("error", 200, "error"),
        ("cut", 200, "cut"),
        ("cancelled", 0, "cancelled"),
    ],
)
def test_error_type(outcome: str, status: int, expected: str | None) -> None:
    assert error_type(outcome, status) == expected


def test_refusals_bad_bytes_plugins_and_reloads_are_counted() -> None:
    metrics = Metrics()
    for code in ("rate_limit_exceeded", "rate_limit_exceeded", "invalid_api_key", None):
        metrics.refused(refused(code))
    metrics.malformed()
    metrics.plugin_failed("pii_redaction", "on_chunk")
    metrics.reloaded(True)
    metrics.reloaded(False)
    scraped = told(metrics)
    assert scraped.sum("gateway_refused_requests_total", code="rate_limit_exceeded", status="429") == 2
    assert scraped.sum("gateway_refused_requests_total", code="disconnected") == 1
    assert scraped.sum("gateway_malformed_requests_total") == 1
    assert scraped.sum("gateway_plugin_failures_total", plugin="pii_redaction", hook="on_chunk") == 1
    assert scraped.sum("gateway_config_reloads_total", result="ok") == 1
    assert scraped.sum("gateway_config_reloads_total", result="failed") == 1
    assert scraped.sum("gateway_config_last_reload_successful") == 0
    metrics.reloaded(True)
    assert told(metrics).sum("gateway_config_last_reload_successful") == 1


def test_label_sets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SERIES", 3)
    metrics = Metrics()
    for number in range(10):
        metrics.served(usage_event(model=f"model-{number}"))
        metrics.refused(refused(f"code-{number}"))
    scraped = told(metrics)
    assert scraped.sum("gateway_requests_total") == 10
    assert scraped.sum("gateway_requests_total", model="other", provider="other") == 7
    assert scraped.sum("gateway_refused_requests_total", code="other") == 7


def test_label_values_from_outside_cannot_break_the_text() -> None:
    metrics = Metrics()
    metrics.served(usage_event(model='a"b\\c\nd{e}'))
    assert told(metrics).sum("gateway_requests_total", model='a"b\\c\nd{e}') == 1


def test_gauges_are_read_when_asked() -> None:
    metrics, open_now = Metrics(), [2.0]
    metrics.gauge("gateway_open_streams", lambda: [(("fake",), open_now[0]), (("fake",), 1.0)])
    assert told(metrics).sum("gateway_open_streams", provider="fake") == 3
    open_now[0] = 5.0
    assert told(metrics).sum("gateway_open_streams", provider="fake") == 6


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60_000), st.integers(0, 10**7), st.booleans())))
def test_several_workers_tell_what_one_would(requests: list[tuple[str, int, int, bool]]) -> None:
    one, several = Metrics(), [Metrics(), Metrics(), Metrics()]
    for number, (model, took, count, stream) in enumerate(requests):
        event = usage_event(
            model=model, ended_ns=START + took * MS, tokens=Tokens(prompt=count, completion=count), stream=stream
        )
        one.served(event)
        several[number % 3].served(event)
    assert (
        merge((one.snapshot(1),), LARGEST, LEAST).series
        == merge((each.snapshot(1) for each in several), LARGEST, LEAST).series
    )


def test_adding_up_changes_no_workers_own_numbers() -> None:
    one, other = Metrics(), Metrics()
    one.served(usage_event())
    other.served(usage_event())
    assert [told(one, other).sum("gateway_requests_total") for _ in range(3)] == [2, 2, 2]


def test_gauges_of_workers_are_added_but_for_those_that_make_no_sense_added() -> None:
    busy, idle = Metrics(), Metrics()
    for metrics, count in ((busy, 4.0), (idle, 1.0)):
        metrics.gauge("gateway_open_streams", lambda count=count: [(("fake",), count)])  # type: ignore[misc]
        metrics.gauge("gateway_breaker_failures", lambda count=count: [(("fake", "m"), count)])  # type: ignore[misc]
    idle.reloaded(False)
    scraped = told(busy, idle)
    assert scraped.sum("gateway_open_streams") == 5
    assert scraped.sum("gateway_breaker_failures") == 4
    assert scraped.sum("gateway_config_last_reload_successful") == 0


def test_a_worker_goes_on_from_the_numbers_of_the_one_before() -> None:
    lost = [3.0]
    first = Metrics()
    first.counter("gateway_usage_events_dropped", lambda: [((), lost[0])])
    first.served(usage_event())
    first.refused(refused("invalid_api_key"))
    second = Metrics(first.snapshot(1))
    second.counter("gateway_usage_events_dropped", lambda: [((), 1.0)])
    second.served(usage_event())
    second.refused(refused("invalid_api_key"))
    scraped = told(second)
    assert scraped.sum("gateway_requests_total") == 2
    assert scraped.sum("gateway_refused_requests_total") == 2
    assert scraped.sum("gateway_usage_events_dropped_total") == 4


def test_every_process_tells_its_cpu_and_memory() -> None:
    scraped = told(Metrics())
    assert scraped.sum("process_resident_memory_bytes", process="worker-0") > 1_000_000
    assert scraped.sum("process_cpu_seconds_total", process="worker-0") > 0
    assert scraped.sum("process_open_fds", process="worker-0") > 0


def full() -> Scraped:
    """A scrape in which every family has a sample."""
    metrics = Metrics()
    metrics.served(usage_event(stream=True, attempts=[attempt("connect", None), attempt()]))
    for name, (_, labels) in COUNTERS.items():
        metrics.counter(name, lambda labels=labels: [(labels, 1.0)])  # type: ignore[misc]
    for name, (_, labels) in GAUGES.items():
        metrics.gauge(name, lambda labels=labels: [(labels, 1.0)])  # type: ignore[misc]
    total = merge([metrics.snapshot(1)], LARGEST, LEAST)
    return written(families(total, [("worker-0", os.getpid())], [up(True), *of_sidecar(numbers())]))[0]


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    exposed = {re.sub(r"_(bucket|count|sum)$", "", name) for name in full().names() if not name.startswith("process_")}
    documented = set(
        re.findall(r"^\| `((?:gateway|gen_ai|http|cost)_[a-z_]+)` \|", page.split("## Access log")[0], re.MULTILINE)
    )
    assert exposed == documented


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    board = json.loads((ROOT / "config" / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in panels(board["panels"]) for target in panel.get("targets", [])]
    expressions += [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    assert len(expressions) > 20
    scraped = full()
    exposed = scraped.names()
    for expression in expressions:
        asked = set(re.findall(r"\b(?:gateway|gen_ai|process|http|cost)_[a-z_]+(?=[{\[),\s]|$)", expression))
        used = {name for name in asked if not is_label(name, scraped)}
        assert used, expression
        assert used <= exposed, (used - exposed, expression)


def panels(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All panels, those within rows included."""
    return [inner for panel in found for inner in (panel, *panels(panel.get("panels", [])))]


def is_label(name: str, scraped: Scraped) -> bool:
    return any(name in sample.labels for sample in scraped.samples)


def test_the_dashboard_can_be_imported() -> None:
    board = json.loads((ROOT / "config" / "grafana-dashboard.json").read_text())
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    every = panels(board["panels"])
    assert len({panel["id"] for panel in every}) == len(every)
    for panel in every:
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["title"]
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
