"""One worker takes another's place while both live: how the counts of limits pass from the old one to the new.

Both open one file, and only one of them counts at a time::

    old: counts ──▶ accepts nothing more, writes its counters and what its running requests hold ──▶ released ──▶ ends
    new: is built ─────────────── waits for that, restores the counters, holds what is held, accepts ──▶ counts ──▶ …

When the old one is no more, what was held for it is let go, and the events behind its last mark, those of the requests
that it still finished, are counted. So a limit is never passed by what ran meanwhile; only what came over connections
that clients kept open to the old one is counted late: one request for each, because it is answered with ``Connection:
close``.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Literal

from gateway.contract.usage import UsageEvent
from gateway.contract.windows import window_bounds
from gateway.dataplane.admission import replay
from gateway.dataplane.admission.counters import Counter
from gateway.kernel.processes import is_alive

_SCHEMA = """
CREATE TABLE IF NOT EXISTS owners (
    slot INTEGER PRIMARY KEY, run TEXT NOT NULL, pid INTEGER NOT NULL, released INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS held (
    slot INTEGER NOT NULL, key TEXT NOT NULL, amount INTEGER NOT NULL, PRIMARY KEY (slot, key)
) WITHOUT ROWID;
"""
State = Literal["counts", "released", "gone"]


class Succession:
    """The workers of one file. ``before`` are the living ones that this one has taken the place of, by the number of
    their usage log; ``released`` is whether another has taken ours. Calls must not overlap.
    """

    def __init__(self, database: sqlite3.Connection, slot: int, run: str) -> None:
        self._database = database
        self._slot = slot
        self._run = run
        self.before: set[int] = set()
        self.released = False
        self._held: dict[int, dict[str, int]] = {}
        self._holding: dict[int, list[tuple[Counter, float, int]]] = {}

    def enter(self) -> None:
        """Be one of them. Those of other runs are no more."""
        self._database.executescript(_SCHEMA)
        self._database.execute(
            "INSERT OR REPLACE INTO owners VALUES (?, ?, ?, 0)", (self._slot, self._run, os.getpid())
        )
        for (slot,) in self._database.execute("SELECT slot FROM owners").fetchall():
            if slot == self._slot:
                continue
            state = self.state_of(slot)
            if state == "gone":
                self.forget(slot)
                continue
            self.before.add(slot)
            if state == "released":
                self._read_held(slot)

    def state_of(self, slot: int) -> State:
        """How far another worker is."""
        found = self._database.execute("SELECT run, pid, released FROM owners WHERE slot = ?", (slot,)).fetchone()
        if found is None or found[0] != self._run or not is_alive(found[1]):
            return "gone"
        return "released" if found[2] else "counts"

    def is_over(self, slot: int) -> bool:
        """Whether a worker that was ``before`` is no more."""
        return slot in self.before and self.state_of(slot) == "gone"

    def over(self) -> list[int]:
        """Those that were ``before`` and are no more."""
        return [slot for slot in self.before if self.is_over(slot)]

    def leave(self) -> None:
        """Be none of them any more."""
        self._database.execute("DELETE FROM owners WHERE slot = ?", (self._slot,))

    def forget(self, slot: int) -> None:
        """Keep nothing of a worker."""
        self._database.execute("DELETE FROM owners WHERE slot = ?", (slot,))
        self._database.execute("DELETE FROM held WHERE slot = ?", (slot,))

    # the old one

    def release(self, living: Iterable[Counter]) -> None:
        """Write what running requests hold of these counters, and that ours are the next one's from now on."""
        rows = [(self._slot, counter.key, counter.count.reserved) for counter in living if counter.count.reserved > 0]
        self._database.execute("DELETE FROM held WHERE slot = ?", (self._slot,))
        self._database.executemany("INSERT INTO held VALUES (?, ?, ?)", rows)
        self._database.execute("UPDATE owners SET released = 1 WHERE slot = ?", (self._slot,))
        self.released = True

    # the new one

    def hold(self, counters: Iterable[Counter]) -> None:
        """Reserve in these counters what requests of those before this one hold; once for each counter."""
        for slot in self.before:
            if slot not in self._held and self.state_of(slot) == "released":
                self._read_held(slot)
        for slot, held in self._held.items():
            holding = self._holding.setdefault(slot, [])
            for counter in counters:
                amount = held.get(counter.key, 0)
                if amount and not any(known is counter for known, _, _ in holding):
                    counter.count.reserved += amount
                    holding.append((counter, counter.resets_at, amount))

    def absorb(self, slot: int, living: Sequence[Counter], events: Sequence[UsageEvent]) -> list[Counter]:
        """Let go what was held for a worker that is no more, and count its last events; gives what has changed."""
        self.before.discard(slot)
        self._held.pop(slot, None)
        for counter, window, amount in self._holding.pop(slot, ()):
            if counter.resets_at == window:
                counter.count.reserved -= amount
            elif counter.sliding and counter.starts_at == window:
                counter.previous -= amount  # the window that it was held in has become the one before
        of_scope: dict[tuple[str, str], list[UsageEvent]] = {}
        for event in events:
            for scope in set(replay.scopes_of(event)):
                of_scope.setdefault(scope, []).append(event)
        changed = []
        for counter in living:
            its = of_scope.get((counter.policy.scope, counter.policy.scope_id))
            if its and counter.window is not None:
                _count(counter, its)
                changed.append(counter)
        return changed

    def _read_held(self, slot: int) -> None:
        rows = self._database.execute("SELECT key, amount FROM held WHERE slot = ?", (slot,)).fetchall()
        self._held[slot] = dict(rows)


def _count(counter: Counter, events: Iterable[UsageEvent]) -> None:
    assert counter.window is not None
    for event in events:
        if not replay.counts(counter.policy, event):
            continue
        begins, ends = window_bounds(counter.window, event.started_ns / 1e9)
        if begins == counter.starts_at:
            counter.count.used += replay.amount_of(counter.metric, event)
        elif counter.sliding and ends == counter.starts_at:
            counter.previous += replay.amount_of(counter.metric, event)
