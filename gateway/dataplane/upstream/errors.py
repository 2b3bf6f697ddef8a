"""Why a call to an upstream failed, before it becomes anything a client sees."""

from __future__ import annotations

from typing import Final, Literal

Reason = Literal[
    "dns",
    "connect",
    "connect_timeout",
    "tls",
    "proxy",
    "queue_full",
    "queue_late",
    "queue_share",
    "queue_timeout",
    "reset",
    "protocol",
    "too_large",
    "first_token_timeout",
    "stall_timeout",
    "total_timeout",
    "stream_error",
]

QUEUED: Final[tuple[Reason, ...]] = ("queue_full", "queue_late", "queue_share", "queue_timeout")
"""Refusals of ours, because an upstream has no room: nothing was sent."""


class UpstreamError(Exception):
    """A transport-level failure of one attempt.

    ``retry_after`` is in seconds, where something is known of when there is room again.
    """

    def __init__(self, reason: Reason, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def is_timeout(self) -> bool:
        """Whether a deadline of ours ended the attempt."""
        return self.reason.endswith("_timeout")
