"""The names of the metrics: from counted numbers to Prometheus' families.

Where OpenTelemetry's semantic conventions for GenAI have a metric or an attribute, its name is theirs in Prometheus'
spelling (``gen_ai.request.model`` is ``gen_ai_request_model``). Everything of ours begins with ``gateway_``.
``docs/observability.md`` lists them all; a test holds it to that.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

import gateway
from gateway.dataplane import metrics
from gateway.dataplane.snapshots import Labels, SeriesKey, Snapshot

COUNTERS: dict[str, tuple[str, Labels]] = {
    "gateway_refused_requests": ("Requests not admitted.", ("endpoint", "status", "code")),
    "gateway_malformed_requests": ("Bytes from clients that were no HTTP request.", ()),
    "gateway_upstream_errors": ("Failed calls to upstreams.", ("provider", "target", "reason")),
    "gateway_breaker_opened": ("Times that a target was let rest, once by each worker.", ("provider", "target")),
    "gateway_retries_refused": ("Retries not made: a target had used up its budget.", ("provider", "target")),
    "gateway_concurrency_lowered": ("Times that a limit on calls under way was lowered.", ("provider", "target")),
    "gateway_concurrency_refused": (
        "Requests refused a place in the queue of a target, or sent away from it.",
        ("provider", "target", "reason"),
    ),
    "gateway_concurrency_queue_waits": (
        "Requests that waited for room at a target and got it.",
        ("provider", "target"),
    ),
    "gateway_concurrency_queue_wait_seconds": ("How long they waited, together.", ("provider", "target")),
    "gateway_hedges": (
        "Second calls where the first was late, those refused included.",
        ("model", "result"),
    ),
    "gateway_shadows": ("Copies of requests, and those not made for want of budget or room.", ("model", "result")),
    "gateway_route_decisions": ("Decisions of learned routes.", ("model", "provider", "target", "result")),
    "gateway_batch_requests": ("Requests of batches that were answered, by how.", ("result",)),
    "gateway_batch_retries": ("Requests of batches that were to be asked again: no room, or a failed provider.", ()),
    "gateway_plugin_failures": ("Exceptions of plugins.", ("plugin", "hook")),
    "gateway_config_reloads": ("Configurations read again, once by each process.", ("process", "result")),
    "gateway_usage_events_dropped": ("Usage events of unfinished answers, lost at the end of a worker.", ()),
    "gateway_access_log_lines_dropped": ("Lines of the access log lost because nobody read it fast enough.", ()),
    "gateway_credential_lookups": ("Credentials asked of the sidecar.", ()),
    "gateway_credential_lookups_refused": ("Credentials not asked for, because too many unknown ones came.", ()),
    "gateway_credentials_evicted": ("Credentials forgotten to make room for others.", ()),
    "gateway_policy_changes": ("Changes of credentials, plans and accounts that were heard of.", ()),
    "gateway_lease_round_trips": ("Calls of the store that limits are shared through.", ()),
    "gateway_lease_failures": ("Such calls without an answer.", ()),
    "gateway_lease_refusals": ("Requests refused by that store.", ()),
    "gateway_lease_recalls": ("Times that others were asked to give back what they had leased.", ()),
    "gateway_worker_replacements": (
        "Workers that were replaced, or not because the new one did not start.",
        ("result",),
    ),
    "gateway_process_restarts": ("Processes that ended by themselves and were started again.", ("process",)),
}
GAUGES: dict[str, tuple[str, Labels]] = {
    "gateway_requests_in_flight": ("Requests being served.", ()),
    "gateway_open_streams": ("Event streams being relayed.", ("provider",)),
    "gateway_client_connections": ("Open connections of clients.", ()),
    "gateway_upstream_connections": ("Open connections to upstreams.", ("provider",)),
    "gateway_upstream_queue_depth": ("Requests waiting for a connection to an upstream.", ("provider",)),
    "gateway_breaker_open": ("Workers that let this target rest.", ("provider", "target")),
    "gateway_breaker_half_open": ("Workers that let one request through to see.", ("provider", "target")),
    "gateway_breaker_waiting": ("Requests waiting for a target to recover.", ("provider", "target")),
    "gateway_breaker_failures": ("Failures of a target in a row, in the worker with the most.", ("provider", "target")),
    "gateway_concurrency_limit": ("Calls that a target gets at once, of all workers.", ("provider", "target")),
    "gateway_concurrency_in_flight": ("Calls under way at a target that has a limit.", ("provider", "target")),
    "gateway_concurrency_queued": ("Requests waiting for room at a target.", ("provider", "target")),
    "gateway_batches_running": ("Batches that are worked through.", ()),
    "gateway_batch_requests_in_flight": ("Requests of batches that are under way.", ()),
    "gateway_files_bytes": ("Bytes of stored files and answers of batches.", ()),
    "gateway_credentials_held": ("Credentials held, the static ones not counted.", ()),
    "gateway_policy_lag_seconds": ("From the last change until it was heard of here, in the slowest worker.", ()),
    "gateway_policy_connected": ("Whether every worker hears changes.", ()),
    "gateway_limits_store_up": ("Whether every worker reaches the store that limits are shared through.", ()),
    "gateway_access_log_buffer_bytes": ("Bytes of the access log not yet written.", ()),
    "gateway_usage_failing": ("Workers whose disk takes no usage events, so that they refuse requests.", ()),
    "gateway_config_last_reload_success_timestamp_seconds": ("When a configuration was taken up, Unix time.", ()),
    "gateway_config_last_reload_successful": ("Whether every process took up the last configuration.", ()),
}
LARGEST = frozenset(
    (
        "gateway_breaker_failures",
        "gateway_config_last_reload_success_timestamp_seconds",
        "gateway_policy_lag_seconds",
    )
)
LEAST = frozenset(("gateway_config_last_reload_successful", "gateway_policy_connected", "gateway_limits_store_up"))

OPERATIONS = {"chat.completions": "chat", "completions": "text_completion", "embeddings": "embeddings"}
"""``gen_ai.operation.name`` of an endpoint, where the conventions have one; others go by the endpoint's name."""

_SERIES = ("endpoint", "model", "provider", "target", "status", "outcome")
_GEN_AI = (
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
    "error_type",
)
_HISTOGRAMS = (
    (
        "gen_ai_server_request_duration_seconds",
        "From a request's head to its last byte.",
        metrics.DURATION,
        metrics.SECONDS,
    ),
    (
        "gen_ai_server_time_to_first_token_seconds",
        "From a request's head to the first byte of its answer's content.",
        metrics.FIRST,
        metrics.SECONDS,
    ),
    (
        "gen_ai_server_time_per_output_token_seconds",
        "Between the tokens of a stream, on average over the stream.",
        metrics.INTER,
        metrics.TOKEN_SECONDS,
    ),
)
_NANO = 1e9


def families(
    total: Snapshot, processes: Iterable[tuple[str, int]] = (), more: Iterable[Metric] = ()
) -> Iterator[Metric]:
    """Every metric of a gateway. ``processes`` are the names and ids of those to look at.

    ``more`` are told too; those of a name that is here already add their samples to it: a name may stand only once.
    """
    others = {metric.name: metric for metric in more}
    for metric in _own(total, processes):
        other = others.pop(metric.name, None)
        if other is not None:
            metric.samples.extend(other.samples)
        yield metric
    yield from others.values()


def _own(total: Snapshot, processes: Iterable[tuple[str, int]]) -> Iterator[Metric]:
    yield InfoMetricFamily(
        "gateway_build",
        "The version that is running.",
        {"version": gateway.__version__, "python": platform.python_version()},
    )
    yield from _requests(total.series)
    yield from _gen_ai(total.series)
    for name, (text, names) in COUNTERS.items():
        counter = CounterMetricFamily(name, text, labels=names)
        for values, count in total.counters.get(name, {} if names else {(): 0}).items():
            counter.add_metric(values, count)
        yield counter
    for name, (text, names) in GAUGES.items():
        gauge = GaugeMetricFamily(name, text, labels=names)
        for values, value in total.gauges.get(name, {}).items():
            gauge.add_metric(values, value)
        yield gauge
    yield from _processes(processes)


def _requests(series: dict[SeriesKey, list[int]]) -> Iterator[Metric]:
    requests = CounterMetricFamily("gateway_requests", "Admitted requests that are over.", labels=_SERIES)
    attempts = CounterMetricFamily("gateway_attempts", "Calls to upstreams.", labels=_SERIES)
    cost = CounterMetricFamily(
        "gateway_cost_dollars", "Cost of requests that have a price, US dollars.", labels=_SERIES
    )
    estimated = CounterMetricFamily("gateway_usage_estimated", "Requests whose tokens are an estimate.", labels=_SERIES)
    tokens = CounterMetricFamily("gateway_tokens", "Tokens.", labels=(*_SERIES, "type"))
    for (endpoint, model, provider, target, status, outcome), numbers in series.items():
        labels = (endpoint, model, provider or "", target or "", str(status), outcome)
        requests.add_metric(labels, numbers[metrics.REQUESTS])
        attempts.add_metric(labels, numbers[metrics.ATTEMPTS])
        cost.add_metric(labels, numbers[metrics.COST] / _NANO)
        estimated.add_metric(labels, numbers[metrics.ESTIMATED])
        tokens.add_metric((*labels, "input"), numbers[metrics.INPUT])
        tokens.add_metric((*labels, "cached_input"), numbers[metrics.CACHED])
        tokens.add_metric((*labels, "output"), numbers[metrics.OUTPUT])
        tokens.add_metric((*labels, "reasoning"), numbers[metrics.REASONING])
    yield from (requests, attempts, cost, estimated, tokens)


def _gen_ai(series: dict[SeriesKey, list[int]]) -> Iterator[Metric]:
    """The histograms of the conventions, whose labels are fewer than those of a series."""
    found: dict[Labels, list[int]] = {}
    for (endpoint, model, provider, target, status, outcome), numbers in series.items():
        labels: Labels = (
            OPERATIONS.get(endpoint, endpoint),
            provider or "",
            model,
            target or "",
            error_type(outcome, status) or "",
        )
        before = found.get(labels)
        found[labels] = numbers if before is None else [a + b for a, b in zip(before, numbers, strict=True)]
    for name, text, offset, seconds in _HISTOGRAMS:
        family = HistogramMetricFamily(name, text, labels=_GEN_AI)
        for labels, numbers in found.items():
            buckets = _buckets(numbers, offset, seconds)
            if buckets[-1][1]:  # most label sets never stream, and buckets are most of a scrape
                family.add_metric(labels, buckets, numbers[offset] / _NANO)
        yield family
    usage = HistogramMetricFamily(
        "gen_ai_client_token_usage", "Tokens of a request.", labels=(*_GEN_AI, "gen_ai_token_type")
    )
    for labels, numbers in found.items():
        for kind, offset in (("input", metrics.INPUT), ("output", metrics.OUTPUT)):
            buckets = _buckets(numbers, offset, metrics.TOKENS)
            if buckets[-1][1]:
                usage.add_metric((*labels, kind), buckets, numbers[offset])
    yield usage


def error_type(outcome: str, status: int) -> str | None:
    """``error.type`` of a request: its status where it failed, ``cancelled`` or ``cut``; None where it succeeded."""
    if outcome in ("ok", "cached"):
        return None
    return str(status) if outcome == "error" and status >= 400 else outcome


def _buckets(numbers: list[int], offset: int, bounds: tuple[float, ...]) -> list[tuple[str, float]]:
    counts = accumulate(numbers[offset + 1 : offset + len(bounds) + 2])
    return list(zip([*(str(float(bound)) for bound in bounds), "+Inf"], counts, strict=True))


def _processes(processes: Iterable[tuple[str, int]]) -> Iterator[Metric]:
    """What prometheus-client tells of a process (CPU, memory, descriptors, start), for each."""
    joined: dict[str, Metric] = {}
    for name, pid in processes:
        for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
            family = joined.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            for sample in metric.samples:
                family.add_sample(sample.name, {**sample.labels, "process": name}, sample.value)
    yield from joined.values()
