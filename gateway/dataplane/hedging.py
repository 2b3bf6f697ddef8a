"""When a second target is called because the first is late with its first token, and how often that may happen.

Dean & Barroso 2013, "The Tail at Scale": a second call after the 95th percentile costs a few per cent more calls and
takes most of the tail. The budget is what keeps it so when every first call is late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.settings.model import Hedge

if TYPE_CHECKING:
    from gateway.dataplane.target import Target

MOST_SAVED: Final = 10.0
"""Second calls that may be saved up, and as many times what one costs."""


class Hedging:
    """The second calls of one model: each of its requests earns a share of one, and of what it cost, for them."""

    __slots__ = ("_calls", "_nanos", "_settings", "refused", "started", "won")

    def __init__(self, settings: Hedge) -> None:
        self._settings = settings
        self._calls = 1.0
        self._nanos = 0.0
        self.started = 0
        self.won = 0
        self.refused = 0

    def take_over(self, previous: Hedging) -> None:
        """Go on with what a configuration before this one has saved and counted."""
        self._calls, self._nanos = previous._calls, previous._nanos
        self.started, self.won, self.refused = previous.started, previous.won, previous.refused

    def delay(self, target: Target) -> float:
        """Seconds after which a second target may be called; 0 where that is not known yet."""
        after = self._settings.after
        return target.load.late if after is None else after

    def earn(self, cost_nanos: int) -> None:
        """A request was answered, for so many nano-dollars."""
        self._calls = min(MOST_SAVED, self._calls + self._settings.share)
        self._nanos = min(self._nanos + self._settings.spend * cost_nanos, MOST_SAVED * max(cost_nanos, 1))

    def take(self, cost_nanos: int) -> bool:
        """Whether a second call that may cost so much is in the budget; it is taken out of it then."""
        if self._calls < 1 or (cost_nanos and self._nanos < cost_nanos):
            self.refused += 1
            return False
        self._calls -= 1
        self._nanos -= cost_nanos
        self.started += 1
        return True
