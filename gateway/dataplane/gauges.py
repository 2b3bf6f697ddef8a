"""What is open, running or waiting in a worker, read from the parts that know it at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TYPE_CHECKING

from gateway.dataplane.attempt import Attempt
from gateway.dataplane.breaker import CLOSED
from gateway.dataplane.snapshots import Labels

if TYPE_CHECKING:
    from gateway.dataplane.admission.leases import Leases
    from gateway.dataplane.app import Worker
    from gateway.dataplane.concurrency import Limit
    from gateway.dataplane.credentials import Learnt
    from gateway.dataplane.emit import FileSink
    from gateway.dataplane.metrics import Metrics
    from gateway.dataplane.runtime import Runtime
    from gateway.dataplane.target import Target
    from gateway.dataplane.upstream.pool import Pool


def _credentials(metrics: Metrics, learnt: Learnt) -> None:
    metrics.gauge("gateway_credentials_held", lambda: (((), len(learnt)),))
    metrics.gauge("gateway_policy_lag_seconds", lambda: (((), learnt.lag),))
    metrics.gauge("gateway_policy_connected", lambda: (((), float(learnt.connected)),))
    metrics.counter("gateway_credential_lookups", lambda: (((), learnt.asked),))
    metrics.counter("gateway_credential_lookups_refused", lambda: (((), learnt.doubted),))
    metrics.counter("gateway_credentials_evicted", lambda: (((), learnt.evicted),))
    metrics.counter("gateway_policy_changes", lambda: (((), learnt.changes),))


def _leases(metrics: Metrics, lender: Leases) -> None:
    stats = lender.stats
    metrics.gauge("gateway_limits_store_up", lambda: (((), float(lender.down_since is None)),))
    metrics.counter("gateway_lease_round_trips", lambda: (((), stats.round_trips),))
    metrics.counter("gateway_lease_failures", lambda: (((), stats.failures),))
    metrics.counter("gateway_lease_refusals", lambda: (((), stats.refused),))
    metrics.counter("gateway_lease_recalls", lambda: (((), stats.recalls),))


class Gauges:
    """Reads a worker: the configuration in use and those before it that still have requests."""

    def __init__(self, worker: Worker, sink: FileSink, clients: Sized, lender: Leases | None = None) -> None:
        self._worker = worker
        self._retired: list[Runtime] = []
        metrics = worker.metrics
        metrics.gauge("gateway_requests_in_flight", self._requests)
        metrics.gauge("gateway_open_streams", self._streams)
        metrics.gauge("gateway_client_connections", lambda: (((), len(clients)),))
        metrics.gauge("gateway_upstream_connections", self._connections)
        metrics.gauge("gateway_upstream_queue_depth", self._waiting)
        metrics.gauge("gateway_breaker_open", self._resting)
        metrics.gauge("gateway_breaker_half_open", self._half_open)
        metrics.gauge("gateway_breaker_failures", self._failures)
        metrics.gauge("gateway_breaker_waiting", self._recovering)
        metrics.counter("gateway_breaker_opened", self._opened)
        metrics.counter("gateway_retries_refused", self._retries_refused)
        metrics.gauge("gateway_concurrency_limit", lambda: self._limits(lambda limit: limit.limit))
        metrics.gauge("gateway_concurrency_in_flight", lambda: self._limits(lambda limit: limit.in_flight))
        metrics.gauge("gateway_concurrency_queued", lambda: self._limits(lambda limit: len(limit.room)))
        metrics.counter("gateway_concurrency_lowered", lambda: self._limits(lambda limit: limit.lowered))
        metrics.counter("gateway_concurrency_queue_waits", lambda: self._limits(lambda limit: limit.room.served))
        metrics.counter(
            "gateway_concurrency_queue_wait_seconds", lambda: self._limits(lambda limit: limit.room.seconds)
        )
        metrics.counter("gateway_concurrency_refused", self._turned_away)
        metrics.counter("gateway_hedges", self._hedges)
        metrics.counter("gateway_shadows", self._shadows)
        metrics.gauge("gateway_access_log_buffer_bytes", lambda: (((), worker.log.buffered),))
        metrics.counter("gateway_access_log_lines_dropped", lambda: (((), worker.log.dropped),))
        metrics.counter("gateway_usage_events_dropped", lambda: (((), sink.dropped),))
        metrics.gauge("gateway_usage_failing", lambda: (((), int(sink.failing)),))
        if worker.learnt is not None:
            _credentials(metrics, worker.learnt)
        if lender is not None:
            _leases(metrics, lender)

    def retired(self, runtime: Runtime) -> None:
        """A configuration was replaced; it is read until its last request is done."""
        self._retired = [old for old in (*self._retired, runtime) if old.active]

    def _runtimes(self) -> Iterator[Runtime]:
        yield self._worker.runtime
        yield from (old for old in self._retired if old.active)

    def _pools(self) -> Iterator[tuple[Labels, Pool]]:
        for runtime in self._runtimes():
            for name, pool in runtime.pools.items():
                yield (name,), pool

    def _requests(self) -> Iterable[tuple[Labels, float]]:
        return (((), runtime.active) for runtime in self._runtimes())

    def _streams(self) -> Iterable[tuple[Labels, float]]:
        # Counted when asked: 50 ns a connection once a second cost less than two additions a request.
        for labels, pool in self._pools():
            handlers = [connection.handler for connection in pool.active]
            yield labels, sum(type(handler) is Attempt and handler.events is not None for handler in handlers)

    def _connections(self) -> Iterable[tuple[Labels, float]]:
        return ((labels, pool.open_connections) for labels, pool in self._pools())

    def _waiting(self) -> Iterable[tuple[Labels, float]]:
        return ((labels, pool.waiting) for labels, pool in self._pools())

    def _targets(self) -> Iterator[tuple[Labels, Target]]:
        """The targets in use, each once."""
        found = {
            target.name: target for route in self._worker.runtime.router.routes.values() for target in route.targets
        }
        return (((target.provider.name, target.model), target) for target in found.values())

    def _resting(self) -> Iterable[tuple[Labels, float]]:
        now = self._worker.loop.time()
        return ((labels, float(target.breaker.open_until > now)) for labels, target in self._targets())

    def _half_open(self) -> Iterable[tuple[Labels, float]]:
        # One whose cooldown is over lets the next request through, and counts as half-open before that comes too.
        now = self._worker.loop.time()
        return (
            (labels, float(target.breaker.state != CLOSED and target.breaker.open_until <= now))
            for labels, target in self._targets()
        )

    def _failures(self) -> Iterable[tuple[Labels, float]]:
        return ((labels, target.breaker.failures) for labels, target in self._targets())

    def _recovering(self) -> Iterable[tuple[Labels, float]]:
        return ((labels, target.breaker.waiting) for labels, target in self._targets())

    def _opened(self) -> Iterable[tuple[Labels, float]]:
        return ((labels, target.breaker.opened) for labels, target in self._targets())

    def _limits(self, read: Callable[[Limit], float]) -> Iterable[tuple[Labels, float]]:
        return ((labels, read(target.limit)) for labels, target in self._targets() if target.limit is not None)

    def _turned_away(self) -> Iterator[tuple[Labels, float]]:
        for labels, target in self._targets():
            if target.limit is not None:
                for reason, count in target.limit.room.refused.items():
                    yield (*labels, reason), count

    def _hedges(self) -> Iterator[tuple[Labels, float]]:
        for name, route in self._worker.runtime.router.routes.items():
            if route.hedging is not None:
                yield (name, "won"), route.hedging.won
                yield (name, "lost"), route.hedging.started - route.hedging.won
                yield (name, "refused"), route.hedging.refused

    def _shadows(self) -> Iterator[tuple[Labels, float]]:
        for name, route in self._worker.runtime.router.routes.items():
            if route.mirror is not None:
                yield (name, "made"), route.mirror.made
                yield (name, "passed"), route.mirror.passed

    def _retries_refused(self) -> Iterable[tuple[Labels, float]]:
        return ((labels, target.budget.refused) for labels, target in self._targets())
