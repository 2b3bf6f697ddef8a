"""What a worker holds for admission, over every reload: counters, what was learnt of credentials and prices, and their
upkeep.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.bus.connect import policy_source
from gateway.bus.policy import Source
from gateway.contract.internal import KNOWN
from gateway.dataplane.admission.books import Books
from gateway.dataplane.admission.leases import LeaseOptions, Leases
from gateway.dataplane.admission.predecessors import Estate, Predecessors
from gateway.dataplane.admission.registry import Registry
from gateway.dataplane.credentials import Learnt
from gateway.dataplane.known import Known
from gateway.dataplane.learned.taught import Taught
from gateway.dataplane.prices import PriceList
from gateway.kernel.secrets import Seal
from gateway.kernel.tasks import end

if TYPE_CHECKING:
    from gateway.bus.leases import RedisLeases
    from gateway.dataplane.emit import FileSink
    from gateway.dataplane.metrics import Metrics
    from gateway.dataplane.worker import WorkerOptions


logger = logging.getLogger("gateway.limits")

AGAIN = 1.0  # seconds after an unexpected failure


class Admission:
    """See the module. :meth:`start` once the event loop serves, :meth:`stop` when the last request is over."""

    def __init__(
        self,
        registry: Registry,
        books: Books | None,
        learnt: Learnt | None,
        lender: Leases | None,
        predecessors: Predecessors | None,
        estate: Estate | None,
        prices: PriceList | None = None,
        source: Source | None = None,
        taught: Taught | None = None,
    ) -> None:
        self.prices = prices
        self.source = source
        self.taught = taught if taught is not None else Taught()
        self.estate = estate
        self.registry = registry
        self.predecessors = predecessors
        self.books = books
        self.learnt = learnt
        self.lender = lender
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def open(cls, options: WorkerOptions, sink: FileSink, metrics: Metrics) -> Admission:
        """What these settings ask for. Raises :class:`OSError` where ``data_dir`` can't be used."""
        settings = options.settings
        books = lender = predecessors = store = None
        if settings.redis_url is not None:
            store = _store(options)
            lender = Leases(store, LeaseOptions(on_store_failure=settings.on_store_failure))
            path = Path(settings.data_dir) / f"node-{options.index}.json"
            predecessors = Predecessors(path, store.node, sink)
            registry = Registry(lender, leased=True)
        else:
            name = "limits.db" if options.place == 0 else f"limits-{options.place}.db"
            books = Books(Path(settings.data_dir) / name, sink, slot=options.index, run=options.run_id)
            registry = books.registry = Registry(books)
        learnt = prices = source = taught = None
        if options.sidecar is not None:
            path = Path(settings.data_dir) / KNOWN
            kept = Known(path, options.master_key, options.sidecar, settings.sidecar.cache)
            source = policy_source(options.sidecar, options.master_key, settings.redis_url, after=kept.seq)
            learnt = Learnt(source, registry, settings, Seal(options.master_key), kept)
            prices = PriceList(source)
            learnt.on_prices = prices.ask
            taught = Taught(source)
            learnt.on_routing = taught.changed
        return cls(registry, books, learnt, lender, predecessors, store, prices, source, taught)

    def start(self, sidecar_start: float) -> None:
        """Begin the upkeep. For ``sidecar_start`` seconds look-ups wait for a sidecar that is only being started."""
        loop = asyncio.get_running_loop()
        if self.books is not None:
            self._tasks.append(loop.create_task(_kept_up(self.books.run)))
        if self.lender is not None:
            self._tasks.append(loop.create_task(self.lender.run()))
            if self.predecessors is not None and self.estate is not None:
                self._tasks.append(loop.create_task(_kept_up(partial(self.predecessors.settle, self.estate))))
        if self.learnt is not None:
            self.learnt.expected_by = time.monotonic() + sidecar_start
            self._tasks.append(loop.create_task(_kept_up(self.learnt.follow)))
            self._tasks.append(loop.create_task(_kept_up(self.learnt.keep)))
        if self.prices is not None:
            self._tasks.append(loop.create_task(_kept_up(self.prices.run)))

    async def succeed(self, before: int, until: Callable[[], bool]) -> None:
        """Take up what the worker with that usage log has counted, once it has ceased to accept; or ``until``."""
        if self.books is not None:
            await self.books.succeed(before, until)

    def release(self) -> None:
        """Let the worker that follows count. Requests that come all the same are counted when this one ends."""
        if self.books is not None:
            self.books.release()

    async def stop(self) -> None:
        """Write what is left and let connections go."""
        await end(*self._tasks)
        for task in self._tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("upkeep of limits failed", extra={"reason": repr(error)})
        await self.taught.close()
        if self.learnt is not None:
            await self.learnt.close()
        if self.books is not None:
            self.books.close()
        if self.lender is not None:
            await self.lender.close()
            if self.predecessors is not None and self.lender.down_since is None:
                self.predecessors.ended_well()


async def _kept_up(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do it until it ends well. Without it credentials and counts would grow old, and nobody be told."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("upkeep of limits failed, and begins again")
            await asyncio.sleep(AGAIN)
        else:
            return


def _store(options: WorkerOptions) -> RedisLeases:
    # Only a gateway with Redis pays for this import, and needs its library.
    from gateway.bus.leases import RedisLeases  # noqa: PLC0415

    assert options.settings.redis_url is not None
    return RedisLeases(options.settings.redis_url, f"{options.run_id}-{options.index}-{os.getpid()}")
