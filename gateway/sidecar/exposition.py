"""The names of the sidecar's metrics. ``docs/observability.md`` lists them all; a test holds it to that.

``http_requests_total`` and ``cost_calculations_total`` are those of the LLM Cost Ops reference ("Metrics").
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import get_args

from prometheus_client import ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder

import gateway
from gateway.contract.scrape import Family, encode
from gateway.domain.alerts.model import EVENTS
from gateway.domain.live.hub import StreamName
from gateway.sidecar.histogram import SECONDS, Histogram
from gateway.sidecar.ingest import IngestState
from gateway.sidecar.metrics import Numbers

PROCESS = "sidecar"
_INGESTION = (
    ("gateway_ingest_entries", "counter", "entries", "Entries made in the ledger."),
    ("gateway_ingest_known", "counter", "known", "Usage events that were in the ledger already."),
    ("gateway_ingest_set_aside", "counter", "poison", "Lines that could not be entered and were set aside."),
    ("gateway_ingest_lag_bytes", "gauge", "lag_bytes", "Usage written and not in the ledger yet, bytes."),
    ("gateway_ingest_age_seconds", "gauge", "age", "For how long the oldest of it has been waiting."),
    ("gateway_ingest_entries_per_second", "gauge", "rate", "Entries made a second, lately."),
    ("gateway_ingest_failing", "gauge", "failing", "Whether usage can't be entered now."),
)
_STREAM = (
    ("gateway_ingest_stream_length", "gauge", "stream_length", "Entries of the Redis stream of usage."),
    ("gateway_ingest_stream_lag", "gauge", "stream_lag", "Of these, those no sidecar has taken."),
    ("gateway_ingest_stream_pending", "gauge", "stream_pending", "Of these, those a sidecar has taken."),
    ("gateway_ingest_stream_age_seconds", "gauge", "stream_age", "Age of the oldest of them."),
    ("gateway_ingest_claimed", "counter", "claimed", "Entries taken over from sidecars that died."),
    ("gateway_ingest_consumers", "gauge", "consumers", "Sidecars that read the stream."),
    ("gateway_ingest_nodes", "gauge", "nodes", "Machines that send usage to the stream."),
)


def families(numbers: Numbers) -> Iterator[Metric]:
    """Every metric of a sidecar but those of its process."""
    yield from _ingestion(numbers.ingestion)
    batches = HistogramMetricFamily(
        "gateway_ingest_batch_duration_seconds", "From a batch of usage until it is in the ledger."
    )
    batches.add_metric((), _buckets(numbers.batches), numbers.batches.sum)
    yield batches
    yield _counter("gateway_ledger_rerated", "Entries rated anew by prices that came late.", numbers.rerated)
    yield from _stored(numbers)
    yield from _api(numbers)
    yield GaugeMetricFamily("gateway_live_listeners", "Clients of the live stream.", numbers.listeners)
    messages = CounterMetricFamily("gateway_live_messages", "Events told over the live stream.", labels=("stream",))
    for stream in get_args(StreamName):
        messages.add_metric((stream,), numbers.told.get(stream, 0))
    yield messages
    yield _counter("gateway_live_missed", "Events not told to clients that did not keep up.", numbers.missed)
    notices = CounterMetricFamily("gateway_notices", "Alerts and forecasts that were made.", labels=("event",))
    for event in EVENTS:
        notices.add_metric((event,), numbers.noticed.get(event, 0))
    yield notices
    yield GaugeMetricFamily("gateway_policy_subscribers", "Processes that hear changes here.", numbers.subscribers)


def _ingestion(state: IngestState) -> Iterator[Metric]:
    for name, kind, attribute, text in (*_INGESTION, *(_STREAM if state.source == "stream" else ())):
        value = float(getattr(state, attribute))
        yield _counter(name, text, value) if kind == "counter" else GaugeMetricFamily(name, text, value)


def _stored(numbers: Numbers) -> Iterator[Metric]:
    calculations = CounterMetricFamily("cost_calculations", "Costs calculated.", labels=("provider",))
    for provider, count in numbers.calculated.items():
        calculations.add_metric((provider,), count)
    yield calculations
    unpriced = GaugeMetricFamily(
        "gateway_ledger_unpriced_requests",
        "Requests of the last 24 hours that nobody knows a price of.",
        labels=("provider", "model"),
    )
    aside = GaugeMetricFamily("gateway_ledger_set_aside_lines", "Lines set aside that were not replayed.", labels=())
    if numbers.stored is not None:
        for key, count in numbers.stored.unpriced.items():
            unpriced.add_metric(key, count)
        aside.add_metric((), numbers.stored.set_aside)
    yield from (unpriced, aside)


def _api(numbers: Numbers) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "http_requests", "Requests answered by the sidecar.", labels=("reference", "method", "status")
    )
    for (reference, method, status), count in numbers.requests.items():
        requests.add_metric((reference, method, str(status)), count)
    durations = HistogramMetricFamily(
        "gateway_api_request_duration_seconds", "Until the sidecar's answers began.", labels=("reference",)
    )
    for reference, histogram in numbers.durations.items():
        durations.add_metric((reference,), _buckets(histogram), histogram.sum)
    yield from (requests, durations)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    names = [*(str(bound) for bound in SECONDS), "+Inf"]
    return list(zip(names, accumulate(histogram.counts), strict=True))


def _process() -> Iterator[Metric]:
    for metric in ProcessCollector(pid=os.getpid, registry=None).collect():
        family = Metric(metric.name, metric.documentation, metric.type)
        for sample in metric.samples:
            family.add_sample(sample.name, {**sample.labels, "process": PROCESS}, sample.value)
        yield family


class _Families:
    """A collector over families that are here already."""

    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = list(found)

    def collect(self) -> list[Metric]:
        return self._found


def text_of(numbers: Numbers, accept: str) -> tuple[bytes, str]:
    """A scrape of the sidecar alone, and its media type."""
    encode_text, content_type = choose_encoder(accept)
    build = InfoMetricFamily(
        "gateway_build",
        "The version that is running.",
        {"version": gateway.__version__, "python": platform.python_version()},
    )
    return encode_text(_Families((build, *families(numbers), *_process()))), content_type


def packed(numbers: Numbers) -> bytes:
    """The same for the worker that tells it beside its own, which has told the version."""
    return encode(
        [
            Family(
                metric.name, metric.documentation, metric.type, [(s.name, s.labels, s.value) for s in metric.samples]
            )
            for metric in (*families(numbers), *_process())
        ]
    )
