"""What a worker learns of a target: how many calls are under way there, and how soon answers begin.

Peak-EWMA is Finagle's measure ("Finagle, Load Balancing: Power of Two Choices, Peak EWMA"): a slow answer counts at
once, quicker ones win it back slowly. All times are seconds.
"""

from __future__ import annotations

from math import exp
from typing import Final

DECAY: Final = 20.0
"""Seconds in which what was measured falls to a third: a target that was slow is tried again by then."""
UNKNOWN: Final = 1.0
"""Seconds assumed of a target that has calls under way and has not answered one yet."""
FAILED: Final = 2.0
"""A failed call counts as this many times what was measured, so that failing quickly attracts nothing."""
LEAST: Final = 20
"""First tokens that must have been seen before their percentile says anything."""
_KEPT: Final = 128
_EVERY: Final = 8


class Load:
    """``pending`` are the calls under way; ``late`` is the 95th percentile of the times to the first token, 0 while
    too few were seen.
    """

    __slots__ = ("_at", "_cost", "_count", "_firsts", "late", "pending")

    def __init__(self) -> None:
        self.pending = 0
        self.late = 0.0
        self._cost = 0.0
        self._at = 0.0
        self._count = 0
        self._firsts: list[float] = []

    def answered(self, seconds: float, now: float) -> None:
        """An answer began ``seconds`` after its request was sent; ``now`` is any clock that only goes forward."""
        self._observe(seconds, now)
        firsts = self._firsts
        if len(firsts) < _KEPT:
            firsts.append(seconds)
        else:
            firsts[self._count % _KEPT] = seconds
        self._count += 1
        if self._count >= LEAST and self._count % _EVERY == LEAST % _EVERY:
            self.late = sorted(firsts)[int(len(firsts) * 0.95)]

    def failed(self, seconds: float, now: float) -> None:
        """A call failed after ``seconds``."""
        self._observe(max(seconds, FAILED * self._cost, UNKNOWN), now)

    def _observe(self, seconds: float, now: float) -> None:
        before = self._cost * exp((self._at - now) / DECAY)
        if seconds >= before:
            self._cost = seconds
        else:
            self._cost = seconds + (self._cost - seconds) * exp((self._at - now) / DECAY)
        self._at = now

    def cost(self, now: float) -> float:
        """What a further call would wait for, in seconds; lower is better. 0 for a target that nobody has tried."""
        if not self._at:
            return UNKNOWN * self.pending
        return self._cost * exp((self._at - now) / DECAY) * (self.pending + 1)
