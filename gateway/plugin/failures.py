"""What happens when a hook fails: the plugin's ``fail`` policy, counted and logged sparingly."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from typing import Literal

from gateway.kernel.errors import GatewayError, Kind

Fail = Literal["open", "closed"]
OnFailure = Callable[[str, str], None]
"""Called with the plugin's name and the hook's name at each failure."""

LOG_EVERY = 60.0
"""Seconds between two log lines about one plugin."""

logger = logging.getLogger("gateway.plugin")


def _where(error: BaseException) -> str:
    # The message of an exception may quote a prompt; its type and place cannot.
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


class Guard:
    """The fail policy of one plugin in one chain.

    ``failures`` counts unexpected exceptions since start, by hook name.
    """

    __slots__ = ("_clock", "_next_log", "_on_failure", "_unlogged", "closed", "failures", "name")

    def __init__(
        self,
        name: str,
        fail: Fail,
        on_failure: OnFailure | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.closed = fail == "closed"
        self.failures: dict[str, int] = {}
        self._on_failure = on_failure
        self._clock = clock
        self._next_log = clock()
        self._unlogged = 0

    def note(self, hook: str, error: Exception) -> None:
        """Count a failure, and log it unless this plugin was logged within the last minute."""
        self.failures[hook] = self.failures.get(hook, 0) + 1
        if self._on_failure is not None:
            self._on_failure(self.name, hook)
        self._unlogged += 1
        now = self._clock()
        if now < self._next_log:
            return
        self._next_log = now + LOG_EVERY
        logger.error(
            "plugin %s failed in %s: %s (%d failures since the last such line; fail: %s)",
            self.name,
            hook,
            _where(error),
            self._unlogged,
            "closed" if self.closed else "open",
        )
        self._unlogged = 0

    def failed(self, hook: str, error: Exception) -> None:
        """Return where the request goes on without the plugin; raise :class:`GatewayError` where it must not."""
        if isinstance(error, GatewayError):
            raise error
        self.note(hook, error)
        if self.closed:
            message = f"The plugin {self.name!r} failed, and it is configured to fail closed."
            raise GatewayError(Kind.INTERNAL, "plugin_failed", message) from error
