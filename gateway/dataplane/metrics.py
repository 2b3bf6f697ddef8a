"""Counters of the data plane, exposed in Prometheus' text format.

The request's way only adds to plain numbers held by label set; prometheus-client turns them into samples when it is
asked. Names follow OpenTelemetry's GenAI metrics where it has one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway.contract.usage import UsageEvent

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
MAX_SERIES = 5_000
"""Label sets kept; those that come later are counted under ``other``."""

Labels = tuple[str, ...]


class Histogram:
    """Counts by upper bound (seconds), and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts as Prometheus wants them."""
        total, out = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            out.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return out


class Series:
    """The numbers of one label set (endpoint, model, provider, status, outcome)."""

    __slots__ = (
        "attempts",
        "cached",
        "completion",
        "cost",
        "first",
        "inter",
        "prompt",
        "reasoning",
        "requests",
        "seconds",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.attempts = 0
        self.prompt = 0
        self.cached = 0
        self.completion = 0
        self.reasoning = 0
        self.cost = 0
        self.seconds = Histogram(SECONDS)
        self.first = Histogram(SECONDS)
        self.inter = Histogram(TOKEN_SECONDS)


class Metrics(Collector):
    """All of a worker's numbers. Gauges are read when asked."""

    def __init__(self) -> None:
        self._series: dict[Labels, Series] = {}
        self._refused: dict[Labels, int] = {}
        self._errors: dict[Labels, int] = {}
        self._malformed = 0
        self._gauges: list[tuple[str, str, tuple[str, ...], Callable[[], Iterable[tuple[Labels, float]]]]] = []

    def gauge(
        self, name: str, text: str, labels: tuple[str, ...], read: Callable[[], Iterable[tuple[Labels, float]]]
    ) -> None:
        """Add a gauge that is read at each scrape."""
        self._gauges.append((name, text, labels, read))

    def served(self, event: UsageEvent) -> None:
        """Count an admitted request that is over."""
        key = (event.endpoint, event.model, event.provider or "", str(event.status), event.outcome)
        series = self._series.get(key)
        if series is None:
            series = self._add(key)
        series.requests += 1
        tokens = event.tokens
        series.prompt += tokens.prompt
        series.cached += tokens.cached
        series.completion += tokens.completion
        series.reasoning += tokens.reasoning
        series.cost += event.cost_nanos or 0
        started, ended, first = event.started_ns, event.ended_ns, event.first_token_ns
        series.seconds.observe((ended - started) / 1e9)
        if first is not None:
            series.first.observe((first - started) / 1e9)
            if event.stream and tokens.completion > 1:
                series.inter.observe((ended - first) / 1e9 / (tokens.completion - 1))
        attempts = event.attempts
        series.attempts += len(attempts)
        if event.outcome != "ok" or len(attempts) > 1:
            for attempt in attempts:
                if attempt.reason != "ok":
                    failed = (attempt.provider, attempt.model, attempt.reason)
                    self._errors[failed] = self._errors.get(failed, 0) + 1

    def _add(self, key: Labels) -> Series:
        if len(self._series) >= MAX_SERIES:
            key = (key[0], "other", "other", key[3], key[4])
        return self._series.setdefault(key, Series())

    def refused(self, exchange: Exchange) -> None:
        """Count a request that was not admitted."""
        key = (exchange.endpoint, str(exchange.status))
        self._refused[key] = self._refused.get(key, 0) + 1

    def malformed(self) -> None:
        """Count bytes that were no HTTP request."""
        self._malformed += 1

    def collect(self) -> Iterator[Metric]:
        """The samples, for prometheus-client."""
        yield from self._requests()
        yield from self._times()
        refused = CounterMetricFamily("gateway_refused", "Requests not admitted.", labels=("endpoint", "status"))
        for labels, count in self._refused.items():
            refused.add_metric(labels, count)
        yield refused
        errors = CounterMetricFamily(
            "gateway_upstream_errors", "Failed attempts.", labels=("provider", "target", "reason")
        )
        for labels, count in self._errors.items():
            errors.add_metric(labels, count)
        yield errors
        yield CounterMetricFamily("gateway_malformed", "Connections that sent no valid HTTP.", value=self._malformed)
        for name, text, names, read in self._gauges:
            family = GaugeMetricFamily(name, text, labels=names)
            for labels, value in read():
                family.add_metric(labels, value)
            yield family

    def _requests(self) -> Iterator[Metric]:
        names = ("endpoint", "model", "provider", "status", "outcome")
        requests = CounterMetricFamily("gateway_requests", "Admitted requests that are over.", labels=names)
        attempts = CounterMetricFamily("gateway_attempts", "Calls to upstreams.", labels=names)
        cost = CounterMetricFamily("gateway_cost_dollars", "Cost of priced requests, US dollars.", labels=names)
        tokens = CounterMetricFamily("gen_ai_client_token_usage", "Tokens.", labels=(*names, "gen_ai_token_type"))
        for labels, series in self._series.items():
            requests.add_metric(labels, series.requests)
            attempts.add_metric(labels, series.attempts)
            cost.add_metric(labels, series.cost / 1e9)
            tokens.add_metric((*labels, "input"), series.prompt)
            tokens.add_metric((*labels, "cached_input"), series.cached)
            tokens.add_metric((*labels, "output"), series.completion)
            tokens.add_metric((*labels, "reasoning"), series.reasoning)
        yield from (requests, attempts, cost, tokens)

    def _times(self) -> Iterator[Metric]:
        names = ("endpoint", "model", "provider", "status", "outcome")
        families = (
            ("gen_ai_server_request_duration_seconds", "From a request's head to its last byte.", "seconds"),
            ("gen_ai_server_time_to_first_token_seconds", "From a request's head to its first token.", "first"),
            ("gen_ai_server_time_per_output_token_seconds", "Between tokens of a stream, on average.", "inter"),
        )
        for name, text, attribute in families:
            family = HistogramMetricFamily(name, text, labels=names)
            for labels, series in self._series.items():
                histogram: Histogram = getattr(series, attribute)
                family.add_metric(labels, histogram.buckets(), histogram.sum)
            yield family
