"""Whose turn it is, where several organisations wait for the same thing.

Start-time fair queueing (Goyal, Vin & Cheng 1996): each organisation has a virtual time that moves on by what it was
given, divided by its weight, and the one that is furthest behind is next. Who begins to wait starts at the time of
whoever is next, so that nobody has saved up turns, and nobody pays for what was used while there was room for all.
Within an organisation who came first goes first.

A call is charged when it begins at what those of its organisation take at least, and at the rest when it is over:
one organisation's long streams must not take the room of another's short calls. (Kubernetes' API Priority and Fairness,
KEP-1040, charges a guess and takes back what was too much. That would put an organisation, again and again, before one
that came meanwhile; so the guess is a low one, and nothing is taken back.)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

T = TypeVar("T")

SHORTEST: Final = 0.001
"""Seconds that a call is charged at least, and while nothing is known of any."""
LONGEST: Final = 60.0
"""Seconds that a call is charged at most: what a stream of an hour costs its organisation is bounded."""
_LEARNING: Final = 0.2
_STALE: Final = 64


class Entry(Generic[T]):
    """One that waits, or was served. ``charged`` is in seconds; ``at`` is for whoever measures when it came or was
    served.
    """

    __slots__ = ("at", "charged", "flow", "item")

    def __init__(self, flow: Flow[T], item: T) -> None:
        self.flow = flow
        self.item = item
        self.charged = 0.0
        self.at = 0.0


class Flow(Generic[T]):
    """An organisation that has something waiting or under way. ``start`` is the virtual time of its next turn."""

    __slots__ = ("cost", "entries", "name", "running", "start", "weight")

    def __init__(self, name: str, start: float, cost: float) -> None:
        self.name = name
        self.weight = 1.0
        self.start = start
        self.cost = cost
        self.running = 0
        self.entries: OrderedDict[Entry[T], None] = OrderedDict()

    @property
    def step(self) -> float:
        """How far one more turn moves it on."""
        return self.cost / self.weight

    @property
    def load(self) -> float:
        """What it has waiting, by its weight."""
        return len(self.entries) / self.weight


class FairQueue(Generic[T]):
    """See the module. ``timed``: whoever takes an entry says by :meth:`done` how long it took; else all cost the same.

    Nothing is kept of an organisation that has nothing waiting and nothing under way.
    """

    def __init__(self, *, timed: bool = False) -> None:
        self._timed = timed
        self._flows: dict[str, Flow[T]] = {}
        self._heap: list[tuple[float, int, Flow[T]]] = []
        self._pushed = 0
        self._now = 0.0  # the virtual time while nobody waits
        self._cost = SHORTEST
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def waiting(self) -> Iterable[Flow[T]]:
        """The organisations that have something waiting."""
        return (flow for flow in self._flows.values() if flow.entries)

    def push(self, name: str, weight: float, item: T) -> Entry[T]:
        """Join the end of an organisation's line. ``weight`` is above 0, and that of the last who came holds."""
        flow = self._flows.get(name)
        if flow is None:
            flow = self._flows[name] = Flow(name, 0.0, self._cost)
        flow.weight = weight
        entry = Entry(flow, item)
        if not flow.entries:
            flow.start = max(flow.start, self._time())
            self._line_up(flow)
        flow.entries[entry] = None
        self._size += 1
        return entry

    def first(self) -> Entry[T] | None:
        """Whose turn it is."""
        heap = self._heap
        while heap:
            start, _, flow = heap[0]
            if flow.entries and start == flow.start:
                return next(iter(flow.entries))
            heappop(heap)
        return None

    def pop(self) -> Entry[T] | None:
        """Serve whose turn it is."""
        entry = self.first()
        if entry is None:
            return None
        heappop(self._heap)
        flow = entry.flow
        flow.entries.popitem(last=False)
        self._size -= 1
        self._now = flow.start
        entry.charged = flow.cost
        flow.start += flow.step
        if self._timed:
            flow.running += 1
        if flow.entries:
            self._line_up(flow)
        else:
            self._forget(flow)
        return entry

    def remove(self, entry: Entry[T]) -> bool:
        """It waits no longer. False for one that was served or removed already, which stays so."""
        flow = entry.flow
        if entry not in flow.entries:
            return False
        del flow.entries[entry]
        self._size -= 1
        if not flow.entries:
            self._forget(flow)
        return True

    def done(self, entry: Entry[T], seconds: float) -> None:
        """What was served is over, after ``seconds``. Once for each entry of a timed queue."""
        flow = entry.flow
        flow.running -= 1
        held = min(max(seconds, SHORTEST), LONGEST)
        flow.cost = _learnt(flow.cost, held)
        self._cost = _learnt(self._cost, held)
        if held > entry.charged:
            flow.start += (held - entry.charged) / flow.weight
            if flow.entries:
                self._line_up(flow)
        if not flow.entries:
            self._forget(flow)

    def ahead(self, name: str, weight: float, own: int | None = None) -> int:
        """How many are served before one that would come now, as things stand; with ``own`` of its organisation's
        waiting, if not as many as there are.
        """
        flow = self._flows.get(name)
        cost, start = self._cost, self._time()
        if flow is not None:
            cost, start = flow.cost, max(start, flow.start)
        if own is None:
            own = len(flow.entries) if flow is not None else 0
        start += own * cost / weight
        count = own
        for other in self.waiting:
            if other is not flow and start >= other.start:
                count += min(len(other.entries), int((start - other.start) / other.step) + 1)
        return count

    def count(self, name: str) -> int:
        """How many an organisation has waiting."""
        flow = self._flows.get(name)
        return len(flow.entries) if flow is not None else 0

    def _time(self) -> float:
        entry = self.first()
        return entry.flow.start if entry is not None else self._now

    def _line_up(self, flow: Flow[T]) -> None:
        heap = self._heap
        if len(heap) > _STALE + 2 * len(self._flows):
            lines = {each[2]: each for each in sorted(heap, reverse=True) if each[0] == each[2].start}
            heap[:] = [each for flow, each in lines.items() if flow.entries]
            heapify(heap)
        self._pushed += 1
        heappush(heap, (flow.start, self._pushed, flow))

    def _forget(self, flow: Flow[T]) -> None:
        if flow.running or self._flows.get(flow.name) is not flow:
            return
        del self._flows[flow.name]
        if not self._flows:
            self._heap.clear()
            self._now = 0.0


def _learnt(cost: float, held: float) -> float:
    """What a call takes at least: down to what one took, and slowly up."""
    return held if held < cost else cost + (held - cost) * _LEARNING
