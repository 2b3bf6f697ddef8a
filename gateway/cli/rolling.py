"""Workers are replaced one after the other, and nothing is dropped.

::

    SIGUSR2 ─▶ a new worker starts beside the old one
                 ├─▶ it is ready: the old one gets SIGUSR2, accepts nothing more, finishes what it has, and ends
                 └─▶ it ends, or is not ready in time: it is given up, and the old ones stay

A worker's ``index`` numbers its files: no two that live have the same. Its ``place`` is which of ``server.workers`` it
is. What the old ones still have to finish is finished beside the next replacement.
"""

from __future__ import annotations

import logging
import re
import signal
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import monotonic

from gateway.cli.process import Child, ended

_log = logging.getLogger("gateway.supervisor")
_NODE = re.compile(r"node-([0-9]{1,6})\.json\Z")
_SETTLED = b"[]"

Work = Callable[[int, int, "int | None", int], int]
"""What a worker does: place, index, the index of the one before it, and where to tell that it is ready."""


class WorkerChild(Child):
    """A worker's process."""

    def __init__(self, work: Work, place: int, index: int, after: int | None = None) -> None:
        super().__init__(f"worker {place}", partial(work, place, index, after))
        self.place = place
        self.index = index
        self.end_by = 0.0
        """Monotonic time at which it is killed, once another has taken its place."""


def first_indexes(data_dir: str, count: int) -> list[int]:
    """Which indexes workers begin with: those first that have left something to settle."""
    left = []
    for path in Path(data_dir).glob("node-*.json"):
        match = _NODE.match(path.name)
        if match is not None and path.read_bytes() != _SETTLED:
            left.append(int(match[1]))
    others = (index for index in range(count + len(left)) if index not in left)
    return sorted([*sorted(left)[:count], *others][:count])


class Rolling:
    """Replaces the workers in ``workers``, in place. ``told`` is called with how each replacement went."""

    def __init__(
        self, workers: list[WorkerChild], work: Work, start_timeout: float, told: Callable[[bool], None]
    ) -> None:
        self.leaving: list[WorkerChild] = []
        self.candidate: WorkerChild | None = None
        self._workers = workers
        self._work = work
        self._start_timeout = start_timeout
        self._start_by = 0.0
        self._told = told
        self._waiting: deque[int] = deque()

    def children(self) -> Iterator[WorkerChild]:
        """The processes beside the workers."""
        if self.candidate is not None:
            yield self.candidate
        yield from self.leaving

    def begin(self) -> None:
        """Replace every worker; those that wait for that already are not replaced twice."""
        _log.info("the workers are replaced one by one")
        self._waiting.extend(worker.place for worker in self._workers if worker.place not in self._waiting)

    def step(self, generation: int) -> None:
        """Start the next worker, where none is being started."""
        if self.candidate is not None or not self._waiting:
            return
        place = self._waiting.popleft()
        used = {worker.index for worker in (*self._workers, *self.leaving)}
        index = next(index for index in range(len(used) + 1) if index not in used)
        self.candidate = WorkerChild(self._work, place, index, self._workers[place].index)
        self._start_by = monotonic() + self._start_timeout
        self.candidate.spawn(generation)

    def on_ready(self, child: Child, drain: float) -> None:
        """A worker is ready: where it is the new one, it is one of the workers now."""
        if child is not self.candidate or self.candidate is None or not child.ready:
            return
        new, self.candidate = self.candidate, None
        old, self._workers[new.place] = self._workers[new.place], new
        old.restart_at = None
        if old.pid is not None:
            old.end_by = monotonic() + drain
            self.leaving.append(old)
            old.signal(signal.SIGUSR2)
        self._told(True)
        _log.info("%s is replaced", new.name)

    def ended(self, child: Child, status: int) -> bool:
        """A process has ended; whether it was one of these, of whom none is started again."""
        if child in self.leaving:
            self.leaving = [other for other in self.leaving if other is not child]
            if status:
                _log.error("%s, which was replaced, %s", child.name, ended(status))
            return True
        if child is self.candidate:
            self._give_up(ended(status))
            return True
        return False

    def due(self, now: float) -> None:
        """End what takes too long."""
        for old in self.leaving:
            if now >= old.end_by:
                _log.error("%s, which was replaced, did not end in time and is killed", old.name)
                old.end_by = float("inf")
                old.signal(signal.SIGKILL)
        if self.candidate is not None and now >= self._start_by:
            self.candidate.signal(signal.SIGKILL)
            self._start_by = float("inf")  # it is given up once it has ended

    def next_due(self) -> Iterator[float]:
        """When to call :meth:`due`."""
        yield from (old.end_by for old in self.leaving if old.end_by != float("inf"))
        if self.candidate is not None and self._start_by != float("inf"):
            yield self._start_by

    def stop(self) -> None:
        """Begin nothing more."""
        self._waiting.clear()

    def _give_up(self, why: str) -> None:
        assert self.candidate is not None
        _log.error("the new %s %s before it was ready; the old workers stay", self.candidate.name, why)
        self.candidate = None
        self._waiting.clear()
        self._told(False)
