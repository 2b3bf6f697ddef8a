"""Works through the batches of a machine, in one of its workers: whichever holds the lock.

The lock is the kernel's and goes with the process, however that ends; another worker then goes on within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Final

from gateway.contract.standing import unknown
from gateway.dataplane.batching.asking import Asking
from gateway.dataplane.batching.lines import Gentle
from gateway.dataplane.batching.records import Batch
from gateway.dataplane.batching.run import Run
from gateway.dataplane.batching.store import Store
from gateway.dataplane.snapshots import Labels
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.auth import Credential
    from gateway.dataplane.metrics import Metrics

logger = logging.getLogger("gateway.batches")

LOOK: Final = 1.0
"""Seconds between two looks at what other workers' clients have created and cancelled."""
MOST: Final = 64
"""Batches that run at once; others wait."""
EACH: Final = 2
"""Batches of one organisation that run at once."""
PACE: Final = 0.002
"""Seconds between the beginnings of two lines: batches have no more than a part of a worker's time."""
SWEEP: Final = 60.0
_FOLDER: Final = 3_600.0  # seconds between two looks for files that nobody knows
_LOCK: Final = "lock"
_END: Final = 2.0  # seconds that lines get to end when they are refused


class Runner:
    """See the module. ``answered`` and ``retried`` count lines, ``kept`` is the bytes of all files when last looked."""

    def __init__(self, worker: Worker, store: Store) -> None:
        self.worker = worker
        self.store = store
        self.asking = Asking(worker)
        self.reading = ThreadPoolExecutor(2, "batch-files")
        self._most = worker.runtime.settings.batches.total_concurrency
        self.places = asyncio.Semaphore(self._most)
        self.leaving = False
        self._halt = Event()
        self.answered = {"completed": 0, "failed": 0}
        self.retried = 0
        self.kept = 0
        self._runs: dict[str, tuple[Run, asyncio.Task[None]]] = {}
        self._lock: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._next_line = 0.0
        self._next_sweep = 0.0
        self._next_folder = 0.0

    def start(self) -> None:
        """Begin to look for work."""
        self._task = self.worker.loop.create_task(self._go())

    def wake(self) -> None:
        """Look at once: this worker's client has changed something."""
        self._woken.set()

    def leave(self) -> None:
        """Begin nothing any more; once what is under way is over, another worker may go on."""
        self.leaving = True
        self._halt.set()
        for run, _ in self._runs.values():
            run.wake()
        self.wake()

    async def finish(self, seconds: float) -> None:
        """Let what is under way end by itself for a while, then refuse the rest."""
        self.leave()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=seconds)
            self.asking.refuse(GatewayError(Kind.UNAVAILABLE, "shutting_down", "The gateway is shutting down."))
            await asyncio.wait((self._task,), timeout=_END)
            for _, task in self._runs.values():
                task.cancel()
            self._task.cancel()
        self._unlock()
        self.reading.shutdown(wait=False, cancel_futures=True)

    # what runs need

    def gentle(self) -> Gentle:
        """For work in a thread, which ends when this process is leaving."""
        return Gentle(self._halt)

    async def caller_of(self, batch: Batch) -> Credential:
        """The batch's credential as it is now. Raises :class:`GatewayError` where it is none any more."""
        author = batch.author
        digest = bytes.fromhex(author.digest)
        found = self.worker.runtime.credentials.known(digest)
        if found is None:
            if self.worker.learnt is None:
                raise unknown()
            found = await self.worker.learnt.again(digest, author.app)
        if found.organization != batch.organization:
            raise unknown()
        return found

    async def pace(self) -> None:
        """Wait until the next line may begin."""
        now = self.worker.loop.time()
        self._next_line = at = max(now, self._next_line + PACE)
        if at > now:
            await asyncio.sleep(at - now)

    # looking for work

    async def _go(self) -> None:
        while not self.leaving:
            try:
                if self._holds_lock():
                    await self._look()
                    await self._sweep()
            except GatewayError:
                pass  # the store has told the log why; tried again
            except Exception:
                logger.exception("batches can't be looked after")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._woken.wait()
            self._woken.clear()
        if self._runs:
            await asyncio.wait([task for _, task in self._runs.values()])
        self._unlock()

    def _holds_lock(self) -> bool:
        if self._lock is not None:
            return True
        if not self.store.exists:
            return False
        descriptor = os.open(self.store.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)  # another worker looks after batches
            return False
        self._lock = descriptor
        return True

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
            self.kept = 0

    async def _look(self) -> None:
        most = self.worker.runtime.settings.batches.total_concurrency
        if most != self._most:
            self._most, self.places = most, asyncio.Semaphore(most)
        running = list(self._runs)
        if running:
            found = {batch.id: batch for batch in await self.store.do(lambda database: database.named(running))}
            for batch_id in running:
                if batch_id in self._runs:
                    self._runs[batch_id][0].look(found.get(batch_id))
        for batch in await self.store.do(lambda database: database.next_up(EACH, MOST)):
            if batch.id not in self._runs and len(self._runs) < MOST and not self.leaving:
                self._begin(batch)

    def _begin(self, batch: Batch) -> None:
        run = Run(self, batch)
        run.look(batch)
        task = self.worker.loop.create_task(run.go())
        self._runs[batch.id] = run, task
        task.add_done_callback(lambda done: self._ended(batch.id, done))

    def _ended(self, batch_id: str, task: asyncio.Task[None]) -> None:
        del self._runs[batch_id]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._next_sweep = 0.0  # its answers are in files now
            self.wake()  # there is room for another
        else:
            logger.error("a batch came to a halt", extra={"batch": batch_id}, exc_info=error)

    async def _sweep(self) -> None:
        now = self.worker.loop.time()
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP
        retention = self.worker.runtime.settings.batches.retention_days * 86_400.0
        while not self.leaving:
            if not await self.store.do(lambda database: database.sweep(time.time(), retention)):
                break
        if now >= self._next_folder:
            self._next_folder = now + _FOLDER
            await self.store.do(lambda database: database.sweep_folder(time.time()))
        self.kept = await self.store.do(lambda database: database.used())

    # what is told

    def tell(self, metrics: Metrics) -> None:
        """Have the metrics read this."""
        metrics.gauge("gateway_batches_running", lambda: (((), len(self._runs)),))
        metrics.gauge("gateway_batch_requests_in_flight", lambda: (((), len(self.asking)),))
        metrics.gauge("gateway_files_bytes", lambda: (((), self.kept),))
        metrics.counter("gateway_batch_requests", self._requests)
        metrics.counter("gateway_batch_retries", lambda: (((), self.retried),))

    def _requests(self) -> Iterable[tuple[Labels, float]]:
        return (((result,), count) for result, count in self.answered.items())
