"""What organizations' feedback has taught, asked of the sidecar in the background and never in a request's way.

An organization is asked for when it first routes, and again when the feed tells of a change. Until an answer is here,
and without a sidecar, the weights alone decide. What was told is kept while the sidecar is away.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from gateway.bus.policy import PolicyUnavailable, RouteSource
from gateway.contract.learned_routes import LearnedRoutes, Timing
from gateway.contract.policy import Change

logger = logging.getLogger("gateway.learned")

MOST: Final = 10_000
"""Organizations that are held; the one held longest goes first."""
AT_ONCE: Final = 4
AGAIN: Final = 2.0
"""Seconds until an organization is asked for again that could not be; twice as long after each time."""
LATEST: Final = 60.0
_LENGTHS: Final = 1_000  # targets of one organization whose answers' length is followed
_PRIOR: Final = 4.0
_LEAST: Final = 0.05
_RATIOS: Final = (0.1, 10.0)
_UNKNOWN: Final = (0.0, 0.0, 0.0)


class Lessons:
    """Of one organization. ``shifts`` are by target, then by task ("" for every task): the shift of the logit, the
    observations it rests on, and its doubt. ``doubt`` and ``common`` are the doubt and the shift of other targets.
    """

    __slots__ = (
        "_lengths",
        "again_at",
        "asking",
        "common",
        "doubt",
        "fixed",
        "fresh",
        "seq",
        "shifts",
        "timings",
        "tries",
    )

    def __init__(self) -> None:
        self.seq = -1
        self.shifts: dict[str, dict[str, tuple[float, float, float]]] = {}
        self.timings: dict[str, Timing] = {}
        self.fixed: str | None = None
        self.doubt = 0.0
        self.common = 0.0
        self.fresh = False
        self.asking = False
        self.again_at = 0.0
        self.tries = 0
        self._lengths: dict[str, tuple[float, int]] = {}

    def take(self, routes: LearnedRoutes) -> None:
        """Go by what was told from now on."""
        shifts: dict[str, dict[str, tuple[float, float, float]]] = {}
        for shift in routes.shifts:
            shifts.setdefault(shift.target, {})[shift.task] = (shift.shift, shift.weight, shift.doubt)
        self.seq, self.shifts, self.fixed, self.doubt = routes.seq, shifts, routes.fixed, routes.doubt
        self.common = routes.common
        self.timings = {timing.target: timing for timing in routes.timings}

    @property
    def plain(self) -> bool:
        """Whether nothing is known that moves what is expected."""
        return not (self.shifts or self._lengths or self.timings)

    def shift(self, target: str, task: str) -> tuple[float, float]:
        """How far the logit of a target's quality is moved for a task, and the observations behind it."""
        found = self.shifts.get(target)
        if found is None:
            return self.common, 0.0
        by, weight, _ = found.get("", _UNKNOWN)
        more, rests, _ = found.get(task, _UNKNOWN)
        return by + more, max(weight, rests)

    def doubt_of(self, target: str, task: str) -> float:
        """What is unknown of a target's logit for a task, as a standard deviation; 0: nothing is to be tried."""
        found = self.shifts.get(target)
        known = None if found is None else found.get(task) or found.get("")
        return self.doubt if known is None else known[2]

    def length(self, target: str) -> float:
        """What the tokens of a target's answers are multiplied by."""
        known = self._lengths.get(target)
        if known is not None:
            return known[0]
        told = self.timings.get(target)
        return 1.0 if told is None else told.length

    def answered(self, target: str, ratio: float) -> None:
        """An answer had ``ratio`` times the tokens that were expected of the model."""
        before = self.length(target)
        count = self._lengths.get(target, (1.0, 0))[1]
        if not count and len(self._lengths) >= _LENGTHS:
            return
        ratio = min(max(ratio, _RATIOS[0]), _RATIOS[1])
        moved = max(_LEAST, 1.0 / (count + 1.0 + _PRIOR))
        self._lengths[target] = (before + moved * (ratio - before), count + 1)


class Taught:
    """See the module. Used within one event loop; ``source`` None: nothing is ever told."""

    def __init__(self, source: RouteSource | None = None) -> None:
        self._source = source
        self._held: dict[str, Lessons] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failing = False
        self.asked = 0

    def __len__(self) -> int:
        return len(self._held)

    def of(self, organization: str) -> Lessons:
        """What is known of an organization now; what is not is asked for."""
        found = self._held.get(organization)
        if found is None:
            while len(self._held) >= MOST:
                del self._held[next(iter(self._held))]
            found = self._held[organization] = Lessons()
        if not found.fresh and self._source is not None and not found.asking:
            self._begin(organization, found, self._source)
        return found

    def _begin(self, organization: str, lessons: Lessons, source: RouteSource) -> None:
        if len(self._tasks) >= AT_ONCE or time.monotonic() < lessons.again_at:
            return  # the next request asks
        lessons.asking = True
        task = asyncio.get_running_loop().create_task(self._ask(organization, lessons, source))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, organization: str, lessons: Lessons, source: RouteSource) -> None:
        self.asked += 1
        lessons.fresh = True  # a change that comes meanwhile undoes it
        try:
            lessons.take(await source.routes(organization))
        except PolicyUnavailable as error:
            lessons.fresh = False
            lessons.again_at = time.monotonic() + min(LATEST, AGAIN * 2.0 ** min(lessons.tries, 10))
            lessons.tries += 1
            if not self._failing:
                self._failing = True
                reason = str(error)
                logger.warning("what was learnt can't be asked for; what is known goes on", extra={"reason": reason})
        else:
            lessons.tries = 0
            lessons.again_at = 0.0
            self._failing = False
        finally:
            lessons.asking = False

    def changed(self, change: Change) -> None:
        """Ask again for whom a change of kind ``routing`` or ``everything`` is about, when they next route."""
        if change.kind == "everything":
            for lessons in self._held.values():
                lessons.fresh = False
                lessons.again_at = 0.0
        elif change.id in self._held:
            self._held[change.id].fresh = False
            self._held[change.id].again_at = 0.0

    async def close(self) -> None:
        """Ask no more."""
        self._source = None
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
