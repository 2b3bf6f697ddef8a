"""Who computes next: a bounded queue, served in turn to the organisations that wait, and one thread that computes."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable

from gateway.kernel.errors import GatewayError, Kind
from gateway.local.native import Cancelled

_LOG = logging.getLogger("gateway.local")
_RETRY_AFTER = 5.0


class Job:
    """A unit of work for the inference thread.

    ``run`` gets the job, so that it can ask :attr:`cancelled` between tokens; ``fail`` gets what it raised.
    """

    def __init__(self, lane: str, run: Callable[[Job], None], fail: Callable[[Exception], None]) -> None:
        self.lane = lane
        self.run = run
        self.fail = fail
        self.cancelled = False


class FairQueue:
    """At most ``limit`` waiting jobs; lanes take turns. One lane may hold three quarters of the places."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lanes: OrderedDict[str, deque[Job]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, job: Job) -> None:
        """Raises ``GatewayError``: ``UNAVAILABLE`` for a full queue, ``RATE_LIMITED`` for a lane over its share."""
        if self._count >= self.limit:
            message = f"The local model has {self.limit} requests waiting, its limit."
            raise GatewayError(Kind.UNAVAILABLE, "local_queue_full", message, retry_after=_RETRY_AFTER)
        share = -(-self.limit * 3 // 4)
        lane = self._lanes.setdefault(job.lane, deque())
        if len(lane) >= share:
            message = f"This organization has {share} requests waiting for the local model, its share of the queue."
            raise GatewayError(Kind.RATE_LIMITED, "local_queue_share_full", message, retry_after=_RETRY_AFTER)
        lane.append(job)
        self._count += 1

    def pop(self) -> Job | None:
        """The next job of the lane whose turn it is; the lane goes to the back."""
        if not self._lanes:
            return None
        name, lane = self._lanes.popitem(last=False)
        job = lane.popleft()
        self._count -= 1
        if lane:
            self._lanes[name] = lane
        return job

    def remove(self, job: Job) -> bool:
        """Take a waiting job out; False if it isn't waiting."""
        lane = self._lanes.get(job.lane)
        if lane is None or job not in lane:
            return False
        lane.remove(job)
        self._count -= 1
        if not lane:
            del self._lanes[job.lane]
        return True


class Scheduler:
    """Runs jobs one after another on its own thread. ``between`` runs there when nothing waits, and between jobs."""

    def __init__(
        self, limit: int, between: Callable[[], None], abort: Callable[[], None], ready: Callable[[], None]
    ) -> None:
        self._queue = FairQueue(limit)
        self._between = between
        self._abort = abort
        self._ready = ready
        self._condition = threading.Condition()
        self._current: Job | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)

    def start(self) -> None:
        """Start the inference thread."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs in the queue, the running one not counted."""
        return len(self._queue)

    @property
    def running(self) -> bool:
        """Whether a job is being computed."""
        return self._current is not None

    def resize(self, limit: int) -> None:
        """Change how many jobs may wait."""
        with self._condition:
            self._queue.limit = limit
            self._condition.notify()

    def submit(self, job: Job) -> None:
        """Queue a job. Raises ``GatewayError`` when there is no place for it."""
        with self._condition:
            if self._closing:
                raise GatewayError(
                    Kind.UNAVAILABLE, "shutting_down", "The local model is shutting down.", retry_after=5
                )
            self._queue.push(job)
            self._condition.notify()

    def cancel(self, job: Job) -> None:
        """Forget a waiting job, or stop a running one at the next step of its computation."""
        with self._condition:
            job.cancelled = True
            if not self._queue.remove(job) and self._current is job:
                self._abort()

    def close(self, timeout: float) -> None:
        """Take no more, let what waits and runs finish for ``timeout`` seconds, then stop it."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(timeout)
        with self._condition:
            while (job := self._queue.pop()) is not None:
                job.cancelled = True
            if self._current is not None:
                self._current.cancelled = True
                self._abort()
        self._thread.join(5)

    def _work(self) -> None:
        while True:
            with self._condition:
                job = self._queue.pop()
                if job is None:
                    if self._closing:
                        return
                    self._condition.wait(timeout=1.0)
                else:
                    self._current = job
                    self._ready()
            if job is not None:
                self._run(job)
            self._between()

    def _run(self, job: Job) -> None:
        try:
            if not job.cancelled:
                job.run(job)
        except (Cancelled, GatewayError) as error:
            job.fail(error)
        except Exception as error:
            _LOG.exception("A request to the local model failed")
            job.fail(error)
        finally:
            with self._condition:
                self._current = None
