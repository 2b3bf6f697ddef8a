"""Counters of one worker.

The request's way only adds to plain integers. A series is one flat list of them, so that adding the series of several
workers, or keeping one in a file, is arithmetic on lists. ``exposition`` gives the numbers their names.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeAlias

from gateway.contract.usage import Attempt, Tokens, UsageEvent
from gateway.dataplane.snapshots import Labels, SeriesKey, Snapshot
from gateway.kernel.errors import GatewayError

Reader: TypeAlias = "Callable[[], Iterable[tuple[Labels, float]]]"

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
TOKENS: Final = tuple(4**power for power in range(14))
"""The buckets that OpenTelemetry's GenAI metrics advise for ``gen_ai.client.token.usage``."""
MAX_SERIES = 1_000
"""Label sets kept of each family; those that come later are counted under ``other``."""
_ABSURD: Final = 2**40
_NO_TOKENS: Final = Tokens()
"""Tokens an upstream may claim for one request; what is beyond is not believed."""

_NANOS: Final = tuple(int(bound * 1e9) for bound in SECONDS)
_TOKEN_NANOS: Final = tuple(int(bound * 1e9) for bound in TOKEN_SECONDS)

# Where a series holds what. A histogram is its sum followed by one count for each bound and one for beyond.
REQUESTS: Final = 0
ATTEMPTS: Final = 1
CACHED: Final = 2
REASONING: Final = 3
COST: Final = 4
ESTIMATED: Final = 5
DURATION: Final = 6
FIRST: Final = DURATION + len(SECONDS) + 2
INTER: Final = FIRST + len(SECONDS) + 2
INPUT: Final = INTER + len(TOKEN_SECONDS) + 2
OUTPUT: Final = INPUT + len(TOKENS) + 2
SIZE: Final = OUTPUT + len(TOKENS) + 2

_DURATION: Final = DURATION + 1
_FIRST: Final = FIRST + 1
_INTER: Final = INTER + 1
_INPUT: Final = INPUT + 1
_OUTPUT: Final = OUTPUT + 1


class Refused(Protocol):
    """What is counted of a request that was not admitted."""

    endpoint: str
    status: int
    refusal: GatewayError | None


class Metrics:
    """All of a worker's numbers. Gauges, and counters that others keep, are read when asked."""

    def __init__(self, base: Snapshot | None = None) -> None:
        """``base`` is what a worker before this one had counted: the numbers go on from there."""
        before = base if base is not None else Snapshot()
        self._series: dict[SeriesKey, list[int]] = {
            key: series for key, series in before.series.items() if len(series) == SIZE
        }
        self._before = before.counters
        self._counters: dict[str, dict[Labels, float]] = {}
        self._refused = self._own("gateway_refused_requests")
        self._errors = self._own("gateway_upstream_errors")
        self._malformed = self._own("gateway_malformed_requests")
        self._plugins = self._own("gateway_plugin_failures")
        self._decisions = self._own("gateway_route_decisions")
        self._reloads = self._own("gateway_config_reloads")
        self._counter_readers: dict[str, Reader] = {}
        self._gauge_readers: dict[str, Reader] = {}
        self._reloaded_at = time.time()
        self._reload_ok = True

    def _own(self, name: str) -> dict[Labels, float]:
        counts = self._counters[name] = dict(self._before.get(name, {}))
        return counts

    def gauge(self, name: str, read: Reader) -> None:
        """Take a gauge of ``exposition.GAUGES`` from ``read`` at each scrape."""
        self._gauge_readers[name] = read

    def counter(self, name: str, read: Reader) -> None:
        """Take a counter of ``exposition.COUNTERS`` from ``read``, which counts since this worker started."""
        self._counter_readers[name] = read

    def served(self, event: UsageEvent) -> None:
        """Count an admitted request that is over."""
        outcome = event.outcome
        key = (event.endpoint, event.model, event.provider, event.target, event.status, outcome)
        series = self._series.get(key)
        if series is None:
            series = self._add(key)
        series[REQUESTS] += 1
        started, ended, first = event.started_ns, event.ended_ns, event.first_token_ns
        took = ended - started
        series[DURATION] += took
        series[_DURATION + bisect_left(_NANOS, took)] += 1
        if first is not None:
            took = first - started
            series[FIRST] += took
            series[_FIRST + bisect_left(_NANOS, took)] += 1
        tokens = event.tokens if outcome != "cached" else _NO_TOKENS
        count = tokens.prompt
        if 0 < count < _ABSURD:
            series[INPUT] += count
            series[_INPUT + bisect_left(TOKENS, count)] += 1
            if tokens.cached > 0:
                series[CACHED] += tokens.cached
        count = tokens.completion
        if 0 < count < _ABSURD:
            series[OUTPUT] += count
            series[_OUTPUT + bisect_left(TOKENS, count)] += 1
            if tokens.reasoning > 0:
                series[REASONING] += tokens.reasoning
            if event.stream and count > 1 and first is not None:
                took = (ended - first) // (count - 1)
                series[INTER] += took
                series[_INTER + bisect_left(_TOKEN_NANOS, took)] += 1
        if event.cost_nanos:
            series[COST] += event.cost_nanos
        if event.estimated:
            series[ESTIMATED] += 1
        attempts = event.attempts
        series[ATTEMPTS] += len(attempts)
        if outcome != "ok" or len(attempts) > 1:
            self._failed(attempts)

    def _failed(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            if attempt.reason != "ok":
                _count(self._errors, (attempt.provider, attempt.model, attempt.reason))

    def _add(self, key: SeriesKey) -> list[int]:
        if len(self._series) >= MAX_SERIES:
            key = (key[0], "other", "other", "other", key[4], key[5])
        return self._series.setdefault(key, [0] * SIZE)

    def refused(self, request: Refused) -> None:
        """Count a request that was not admitted."""
        code = request.refusal.code if request.refusal is not None else "disconnected"
        _count(self._refused, (request.endpoint, str(request.status), code))

    def malformed(self) -> None:
        """Count bytes that were no HTTP request."""
        _count(self._malformed, ())

    def plugin_failed(self, plugin: str, hook: str) -> None:
        """Count an exception of a plugin; given to the chain as its ``on_failure``."""
        _count(self._plugins, (plugin, hook))

    def decided(self, model: str, provider: str, target: str, result: str) -> None:
        """Count a decision of a learned route: whom it chose, and how."""
        _count(self._decisions, (model, provider, target, result))

    def reloaded(self, ok: bool) -> None:
        """Count a configuration that was taken up, or not."""
        _count(self._reloads, ("worker", "ok" if ok else "failed"))
        self._reload_ok = ok
        if ok:
            self._reloaded_at = time.time()

    def snapshot(self, pid: int) -> Snapshot:
        """The numbers as they stand. Its series are this object's own: encode or add them before the next request."""
        counters = dict(self._counters)
        for name, read in self._counter_readers.items():
            total = dict(self._before.get(name, {}))
            for labels, value in read():
                total[labels] = total.get(labels, 0) + value
            counters[name] = total
        gauges: dict[str, dict[Labels, float]] = {
            "gateway_config_last_reload_success_timestamp_seconds": {(): self._reloaded_at},
            "gateway_config_last_reload_successful": {(): float(self._reload_ok)},
        }
        for name, read in self._gauge_readers.items():
            values = gauges[name] = {}
            for labels, value in read():
                values[labels] = values.get(labels, 0) + value
        return Snapshot(pid, self._series, counters, gauges)


def _count(counts: dict[Labels, float], labels: Labels) -> None:
    found = counts.get(labels)
    if found is None and len(counts) >= MAX_SERIES:
        labels = ("other",) * len(labels)
        found = counts.get(labels)
    counts[labels] = 1 if found is None else found + 1
