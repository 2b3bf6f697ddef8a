"""What follows from how a line was answered: it is written down, asked again, or the batch is over."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from gateway.dataplane.batching.asking import Asked
from gateway.kernel.errors import GatewayError, Kind

TRIES: Final = 5
"""How often a line is asked whose provider fails. Each time the gateway has tried again by itself already."""
LONGEST_PAUSE: Final = 60.0
_SPENT: Final = 3  # times that a budget was found used up by nothing that is under way
_GONE: Final = frozenset((Kind.UNAUTHENTICATED, Kind.FORBIDDEN, Kind.SUSPENDED))


class Verdict(Enum):
    """See the module. After ``WAIT`` no line of the batch is asked for a while; after ``AGAIN`` this one alone."""

    ANSWERED = "answered"
    AGAIN = "again"
    WAIT = "wait"
    STOP = "stop"


class Judged(NamedTuple):
    """``pause`` is in seconds."""

    verdict: Verdict
    pause: float = 0.0


_ANSWERED: Final = Judged(Verdict.ANSWERED)
_STOP: Final = Judged(Verdict.STOP)


def judge(asked: Asked, tries: int, spent: int, *, alone: bool) -> Judged:
    """``tries`` is how often the line was asked, ``spent`` how often there was no money for it before. ``alone``: no
    other line of the batch is under way, whose reservation may be what is in the way.
    """
    refusal = asked.refusal
    if refusal is not None and refusal.code == "shutting_down":
        return Judged(Verdict.AGAIN, 1.0)
    if refusal is not None and not asked.was_admitted:
        return _refused(refusal, spent, alone=alone)
    pause = min(LONGEST_PAUSE, 2.0**tries)
    if asked.retry_after is not None:
        pause = max(1.0, asked.retry_after)
    if asked.status == 429 and b'"insufficient_quota"' not in asked.body:
        return Judged(Verdict.AGAIN, pause)
    if asked.status == 0 or (asked.status >= 500 and asked.status != 501 and tries < TRIES):
        return Judged(Verdict.AGAIN, pause)
    return _ANSWERED


def _refused(refusal: GatewayError, spent: int, *, alone: bool) -> Judged:
    """The limits of the credential did not let it pass."""
    pause, details = refusal.retry_after, refusal.details
    if refusal.kind is Kind.UNAVAILABLE:
        return Judged(Verdict.WAIT, max(1.0, pause or 0.0))
    if refusal.kind is Kind.RATE_LIMITED:
        return _ANSWERED if pause is None else Judged(Verdict.WAIT, pause)
    if refusal.kind not in (Kind.QUOTA_EXCEEDED, Kind.PAYMENT_REQUIRED):
        return _ANSWERED
    if pause is None and details is not None and details.resets_at is not None:
        return _ANSWERED  # this request alone is more than the whole limit
    return _STOP if alone and spent >= _SPENT else Judged(Verdict.WAIT, 1.0)


def judge_credential(error: GatewayError) -> Judged:
    """The credential may not be used: for good, or it can't be checked just now."""
    return _STOP if error.kind in _GONE else Judged(Verdict.WAIT, max(1.0, error.retry_after or 0.0))
