"""Whether changes are being heard: told in the log when that changes, and to whoever asked to be called."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

# Seconds in which the other side may still be starting.
START_SECONDS = 10.0

_log = logging.getLogger("gateway.bus")


class Hearing:
    """``connected`` as of now. ``on_change`` is called with it each time it turns."""

    def __init__(self, what: str, on_change: Callable[[bool], None] | None = None) -> None:
        self.what = what
        self.on_change = on_change
        self.connected = False
        self._told = False
        self._patient_until = monotonic() + START_SECONDS

    def found(self) -> None:
        """Changes are heard."""
        if not self.connected:
            self.connected = True
            self._told = False
            self._patient_until = 0.0
            _log.info("changes are heard from %s", self.what)
            self._call()

    def lost(self, why: BaseException | None) -> None:
        """Changes are not heard, or still not; ``why`` is None where nobody listens any more. The log tells it once."""
        if why is not None and not self._told and monotonic() >= self._patient_until:
            self._told = True
            _log.warning("changes are not heard from %s", self.what, extra={"reason": f"{type(why).__name__}: {why}"})
        if self.connected:
            self.connected = False
            self._call()

    def _call(self) -> None:
        if self.on_change is not None:
            self.on_change(self.connected)
