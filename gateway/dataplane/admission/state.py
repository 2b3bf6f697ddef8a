"""What a worker holds for admission, over every reload: counters, credentials that were learnt, and their upkeep."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.bus.connect import policy_source
from gateway.dataplane.admission.books import Books
from gateway.dataplane.admission.limiter import Lender
from gateway.dataplane.admission.registry import Registry
from gateway.dataplane.credentials import Learnt
from gateway.kernel.secrets import Seal

if TYPE_CHECKING:
    from gateway.dataplane.emit import FileSink
    from gateway.dataplane.metrics import Metrics
    from gateway.dataplane.worker import WorkerOptions


class Admission:
    """See the module. :meth:`start` once the event loop serves, :meth:`stop` when the last request is over."""

    def __init__(self, registry: Registry, books: Books | None, learnt: Learnt | None, lender: Lender | None) -> None:
        self.registry = registry
        self.books = books
        self.learnt = learnt
        self.lender = lender
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def open(cls, options: WorkerOptions, sink: FileSink, metrics: Metrics) -> Admission:
        """What these settings ask for. Raises :class:`OSError` where ``data_dir`` can't be used."""
        settings = options.settings
        name = "limits.db" if options.index == 0 else f"limits-{options.index}.db"
        books = Books(Path(settings.data_dir) / name, sink)
        registry = Registry(books)
        learnt = None
        if options.sidecar is not None:
            source = policy_source(options.sidecar, options.master_key, settings.redis_url)
            learnt = Learnt(source, registry, settings, Seal(options.master_key))
        return cls(registry, books, learnt, None)

    def start(self) -> None:
        """Begin the upkeep."""
        loop = asyncio.get_running_loop()
        if self.books is not None:
            self._tasks.append(loop.create_task(self.books.run()))
        if self.learnt is not None:
            self._tasks.append(loop.create_task(self.learnt.follow()))

    async def stop(self) -> None:
        """Write what is left and let connections go."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self.learnt is not None:
            await self.learnt.close()
        if self.books is not None:
            self.books.close()
