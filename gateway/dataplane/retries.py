"""Whether and when the same target is tried again: the pause, what the upstream asked for, and a budget.

Trying again is for what may pass: a reset, an answer that is none, a status that tells of overload. A request that
can't succeed (refused for what it is, or too long) is never sent twice to one target.
"""

from __future__ import annotations

import random
import re
import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from gateway.dataplane.breaker import CLOSED
from gateway.dataplane.upstream.errors import QUEUED

if TYPE_CHECKING:
    from gateway.dataplane.attempt import Attempt
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.upstream.connection import Headers

LONGEST_PAUSE: Final = 5.0
"""Seconds; an upstream that asks for more is passed over, and the client told."""
RESERVE: Final = 100.0
"""Retries that a target's budget holds at most, and at first."""
_TRICKLE: Final = 1.0  # retries a second that are allowed however few calls there are

_NOT_AGAIN: Final = frozenset(("total_timeout", "first_token_timeout", "stall_timeout", *QUEUED))
_EPOCH: Final = 1e9  # a reset above it is a moment, in seconds since 1970, and below it a number of seconds
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class RetryBudget:
    """How many retries a target may get: a share of its calls, saved up to :data:`RESERVE`.

    Without one, the retries of all clients multiply the load of a target just when it fails under it (as gRPC's retry
    throttling, proposal A6, and Finagle's ``RetryBudget``).
    """

    __slots__ = ("_at", "_share", "left", "refused")

    def __init__(self, share: float) -> None:
        self._share = share
        self._at = 0.0
        self.left = RESERVE
        self.refused = 0

    def deposit(self) -> None:
        """A request called the target for the first time."""
        if self.left < RESERVE:
            self.left += self._share

    def withdraw(self, now: float) -> bool:
        """Take one retry, at loop time ``now``; False where there is none."""
        self.left = min(RESERVE, self.left + (now - self._at) * _TRICKLE)
        self._at = now
        if self.left < 1.0:
            self.refused += 1
            return False
        self.left -= 1.0
        return True


def pause_before_retry(exchange: Exchange, attempt: Attempt, tries: int, *, is_last: bool) -> float | None:
    """Seconds to wait before the same target is tried again; None where that makes no sense.

    Exponential with full jitter (Brooker, "Exponential Backoff And Jitter"), or what the upstream asked for.
    """
    target = attempt.target
    retry = target.provider.retry
    error = attempt.error
    if tries >= retry.attempts or not exchange.repeatable or (error is not None and error.reason in _NOT_AGAIN):
        return None
    if attempt.too_long or target.breaker.state != CLOSED or _is_final(attempt.refused):
        return None
    asked = asked_pause(attempt.status, attempt.refused)
    if not is_last and (attempt.status == 429 or asked is not None):
        return None  # a busy target is not asked again while another may be free
    pause = asked if asked is not None else random.uniform(0, min(LONGEST_PAUSE, retry.backoff * 2 ** (tries - 1)))
    now = exchange.wire.loop.time()
    if pause > LONGEST_PAUSE or now + pause >= exchange.deadline or not target.budget.withdraw(now):
        return None
    return pause


def asked_pause(status: int | None, headers: Headers) -> float | None:
    """Seconds for which an upstream asked to be left alone in an error; None where it said nothing of that."""
    if not headers:
        return None
    given = {name: value.decode("latin-1").strip() for name, value in headers}
    now = time.time()
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = given.get(name.encode())
        if text is not None:
            seconds = _number(text)
            return seconds * scale if seconds is not None else _until(text, given.get(b"date"), now)
    return _reset(given, now) if status == 429 else None


def _number(text: str) -> float | None:
    # Not float() alone, which takes "nan", "inf" and digits of other scripts.
    return float(text) if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", text) else None


def _until(text: str, date: str | None, now: float) -> float | None:
    """Seconds until a moment in HTTP's form (RFC 9110 §5.6.7), by the upstream's own clock where it tells it."""
    moment = _moment(text)
    if moment is None:
        return None
    told = _moment(date) if date is not None else None
    return max(0.0, moment - (now if told is None else told))


def _moment(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _reset(given: dict[bytes, str], now: float) -> float | None:
    """The latest reset among the limits that are used up, or among all where none says what remains."""
    found = {}
    for name, text in given.items():
        if b"ratelimit" in name and b"reset" in name:
            seconds = _seconds(text, now)
            if seconds is not None:
                found[name.replace(b"reset", b"remaining")] = seconds
    used_up = [seconds for name, seconds in found.items() if given.get(name) == "0"]
    return max(used_up or found.values(), default=None)


def _seconds(text: str, now: float) -> float | None:
    """``6m0s`` and ``120ms`` (OpenAI), seconds (IETF's draft), Unix seconds or milliseconds, RFC 3339 (Anthropic)."""
    number = _number(text)
    if number is not None:
        if number > _EPOCH * 1000:
            number /= 1000
        return max(0.0, number - now) if number > _EPOCH else number
    spans = _SPAN.findall(text)
    if spans and "".join(count + unit for count, unit in spans) == text:
        return sum(float(count) * _UNITS[unit] for count, unit in spans)
    try:
        moment = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return max(0.0, moment - now)


def _is_final(headers: Headers) -> bool:
    """Whether the upstream says that trying again is useless."""
    return any(name == b"x-should-retry" and value == b"false" for name, value in headers)
