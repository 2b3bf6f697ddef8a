"""Late prices on their way into the ledger: looked for now and then, for as long as the sidecar runs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from gateway.domain.ledger.rating import Rater
from gateway.domain.pricing.corrections import catch_up
from gateway.domain.work import Works
from gateway.sidecar.tasks import Repeated

LOOK = 2.0  # seconds

_log = logging.getLogger("gateway.sidecar.rerating")


class Rerater(Repeated):
    """Rates anew what late prices hold for. Use it as ``async with``."""

    def __init__(self, works: Works, rater: Callable[[], Awaitable[Rater]], *, look: float = LOOK) -> None:
        super().__init__(look, _log, "usage is not rated anew now")
        self._works = works
        self._rater = rater
        self.corrected = 0
        """Entries rated anew since the start."""

    async def once(self) -> None:
        """Rate anew what is pending."""
        corrected = await catch_up(self._works, self._rater, stopping=self._stopping.is_set)
        self.corrected += corrected
        if corrected:
            _log.info("usage was rated anew by late prices", extra={"entries": corrected})
