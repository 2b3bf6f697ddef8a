"""Pauses between attempts to reach something: longer after each failure, and never the same for everyone."""

from __future__ import annotations

import random

FIRST = 0.05
LONGEST = 1.0


class Backoff:
    """Seconds to wait before the next attempt: half to all of a span that doubles from 50 ms to 1 s."""

    def __init__(self) -> None:
        self._span = FIRST

    def reset(self) -> None:
        """The last attempt was good."""
        self._span = FIRST

    def next(self) -> float:
        """The pause before the next attempt."""
        span, self._span = self._span, min(self._span * 2, LONGEST)
        return span * random.uniform(0.5, 1.0)
