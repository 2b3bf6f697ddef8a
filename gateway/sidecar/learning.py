"""Learning from what clients told of learned routes, and the ledger saw of them, for as long as the sidecar runs."""

from __future__ import annotations

import logging

from gateway.domain.learning.learner import TELLING, catch_up
from gateway.domain.work import Works
from gateway.sidecar.tasks import Repeated

LOOK = 2.0  # seconds

_log = logging.getLogger("gateway.sidecar.learning")


class Learning(Repeated):
    """Learns from what waits. Use it as ``async with``. ``telling`` as in :mod:`gateway.domain.learning.learner`."""

    def __init__(self, works: Works, *, look: float = LOOK, telling: float = TELLING) -> None:
        super().__init__(look, _log, "nothing is learned of routes now")
        self._works = works
        self._telling = telling
        self.observations = 0
        """Learned from since the start."""

    async def once(self) -> None:
        """Learn from what waits."""
        self.observations += await catch_up(self._works, telling=self._telling, stopping=self._stopping.is_set)
