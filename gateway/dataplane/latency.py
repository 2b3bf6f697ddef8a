"""How much later than usual a target begins to answer.

Like is compared with like: calls are of a kind by the size of their prompt and, where the answer comes whole, by its
length, so that a change of what is asked for is not taken for a change of the target. What is usual of a kind follows
what is measured; downwards freely, upwards only so fast that an overload does not become usual.
"""

from __future__ import annotations

from typing import Final

DOUBLES: Final = 600.0
"""Seconds in which what is usual may double at most."""
OUTLIER: Final = 8.0
"""A call that is later counts as so many times later than usual: one alone says little."""
MOST: Final = 256
"""Kinds that are told apart."""
_INERTIA: Final = 20.0  # calls that what is known weighs as much as


class _Kind:
    """``usual`` is in seconds, 0 while nothing is known; ``count`` and ``total`` are of the calls since last."""

    __slots__ = ("count", "total", "usual")

    def __init__(self) -> None:
        self.usual = 0.0
        self.count = 0
        self.total = 0.0


class Latency:
    """``count`` are the calls since last."""

    __slots__ = ("_kinds", "count")

    def __init__(self) -> None:
        self._kinds: dict[int, _Kind] = {}
        self.count = 0

    def add(self, kind: int, seconds: float) -> None:
        """A call of a kind began to be answered after ``seconds``."""
        found = self._kinds.get(kind)
        if found is None:
            if len(self._kinds) >= MOST:
                return
            found = self._kinds[kind] = _Kind()
        usual = found.usual
        if usual and seconds > usual * OUTLIER:
            seconds = usual * OUTLIER
        found.count += 1
        found.total += seconds
        self.count += 1

    def close(self, elapsed: float) -> float:
        """How many times later than usual the calls were since last, ``elapsed`` seconds ago; 1 where nothing is known.

        What is usual follows.
        """
        took = expected = 0.0
        growth = 2.0 ** (elapsed / DOUBLES)
        for kind in self._kinds.values():
            if not kind.count:
                continue
            mean = kind.total / kind.count
            if not kind.usual:
                kind.usual = mean
            took += kind.total
            expected += kind.usual * kind.count
            moved = kind.usual + (mean - kind.usual) * kind.count / (kind.count + _INERTIA)
            kind.usual = min(moved, kind.usual * growth)
            kind.count = 0
            kind.total = 0.0
        self.count = 0
        return took / expected if expected > 0 else 1.0

    def drop(self) -> None:
        """Forget the calls since last."""
        for kind in self._kinds.values():
            kind.count = 0
            kind.total = 0.0
        self.count = 0
