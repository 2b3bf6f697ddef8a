"""Limits of static keys, held in memory: requests, tokens, money and concurrency.

All limits of a request are checked, then all are committed or none: a refused request burns nothing. Tokens and money
are reserved at their worst case and settled at what was used. Windows are fixed and aligned to UTC.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterable

from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Budget, Key, Limit, Plan, Settings

NANOS_PER_DOLLAR = 1_000_000_000
DEFAULT_COMPLETION_TOKENS = 1_024
"""Reserved for the answer where the request sets no maximum; settled at the real count."""
BYTES_PER_TOKEN = 4
"""A prompt's estimate before an upstream has counted it."""

_UNITS = {"s": 1, "second": 1, "m": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86_400, "day": 86_400}
_DAY = 86_400
_EPOCH_WEEKDAY = 3  # 1 January 1970 was a Thursday


def window_bounds(window: str, now: float) -> tuple[float, float]:
    """Start and end (Unix seconds) of the fixed window that holds ``now``: ``10s``, ``month``, ``total`` …"""
    if window == "total":
        return 0.0, float("inf")
    unit = window.lstrip("0123456789")
    count = int(window[: len(window) - len(unit)] or 1)
    if unit in ("month", "year"):
        at = time.gmtime(now)
        months = count if unit == "month" else 12 * count
        first = (at.tm_year * 12 + at.tm_mon - 1) // months * months
        return _month_start(first), _month_start(first + months)
    if unit == "week":
        start = now - (now - (7 - _EPOCH_WEEKDAY) * _DAY) % (7 * _DAY)
        return start, start + 7 * _DAY
    span = count * _UNITS[unit]
    start = now - now % span
    return start, start + span


def _month_start(number: int) -> float:
    return float(calendar.timegm((number // 12, number % 12 + 1, 1, 0, 0, 0)))


class Counter:
    """Use of one metric in the current window; ``concurrency`` has no window and counts what is held."""

    __slots__ = ("limit", "metric", "resets_at", "scope", "used", "window")

    def __init__(self, metric: str, limit: float, window: str | None, scope: str) -> None:
        self.metric = metric
        self.limit = round(limit * NANOS_PER_DOLLAR) if metric == "cost" else int(limit)
        self.window = window
        self.scope = scope
        self.used = 0
        self.resets_at = 0.0

    def roll(self, now: float) -> None:
        """Start the window that holds ``now``."""
        self.used = 0
        self.resets_at = window_bounds(self.window, now)[1] if self.window is not None else float("inf")


class Grant:
    """What an admitted request holds until it is settled; ``era`` is the limiter's when it was taken."""

    __slots__ = ("cost", "counters", "era", "limiter", "tokens", "windows")

    def __init__(self, limiter: Limiter, tokens: int, cost: int) -> None:
        self.limiter = limiter
        self.tokens = tokens
        self.cost = cost
        self.era = limiter.era
        self.counters = limiter.counters
        self.windows = limiter.windows


class Limiter:
    """The counters of one key: its own limits, its budget and its plan's limits, in the order they are checked.

    ``era`` counts the times a window began anew: while it stands still, a grant's windows are the current ones.
    """

    __slots__ = ("concurrency", "cost", "counters", "era", "next_roll", "requests", "tokens", "windows")

    def __init__(self, counters: Iterable[Counter]) -> None:
        self.era = 0
        self.take(tuple(counters))

    def take(self, counters: tuple[Counter, ...]) -> None:
        """Count with these from now on."""
        self.counters = counters
        self.requests = tuple(c for c in counters if c.metric in ("requests", "ai_requests"))
        self.tokens = tuple(c for c in counters if c.metric == "tokens")
        self.cost = tuple(c for c in counters if c.metric == "cost")
        self.concurrency = tuple(c for c in counters if c.metric == "concurrency")
        self._mark()

    def _mark(self) -> None:
        self.era += 1
        self.windows = tuple(counter.resets_at for counter in self.counters)
        self.next_roll = min(self.windows, default=float("inf"))

    def _roll(self, now: float) -> None:
        for counter in self.counters:
            if now >= counter.resets_at:
                counter.roll(now)
        self._mark()

    def admit(self, tokens: int, cost: int, now: float) -> Grant:
        """Reserve one request of ``tokens`` and ``cost`` (nano-dollars) at Unix time ``now``.

        Raises :class:`GatewayError`, and then nothing is taken.
        """
        if now >= self.next_roll:
            self._roll(now)
        for counter in self.concurrency:
            if counter.used >= counter.limit:
                raise refusal(counter, 1, now)
        for counter in self.requests:
            if counter.used >= counter.limit:
                raise refusal(counter, 1, now)
        for counter in self.tokens:
            if counter.used + tokens > counter.limit:
                raise refusal(counter, tokens, now)
        for counter in self.cost:
            if counter.used + cost > counter.limit:
                raise refusal(counter, cost, now)
        for counter in self.concurrency:
            counter.used += 1
        for counter in self.requests:
            counter.used += 1
        for counter in self.tokens:
            counter.used += tokens
        for counter in self.cost:
            counter.used += cost
        return Grant(self, tokens, cost)


def settle(grant: Grant, tokens: int, cost: int) -> None:
    """Replace what was reserved by what was used, in the windows it was reserved in, and free the concurrency slot.

    A second call does nothing.
    """
    counters, grant.counters = grant.counters, ()
    limiter = grant.limiter
    if not counters:
        return
    if grant.era == limiter.era:
        for counter in limiter.tokens:
            counter.used += tokens - grant.tokens
        for counter in limiter.cost:
            counter.used += cost - grant.cost
        for counter in limiter.concurrency:
            counter.used -= 1
        return
    _settle_late(grant, counters, tokens, cost)


def undo(grant: Grant) -> None:
    """Give back all that was taken, the request itself included: it is admitted anew as something else."""
    if grant.counters and grant.era == grant.limiter.era:
        for counter in grant.limiter.requests:
            counter.used -= 1
    settle(grant, 0, 0)


def _settle_late(grant: Grant, counters: tuple[Counter, ...], tokens: int, cost: int) -> None:
    # A window that is over since has lost its count, and nothing is given back to the next.
    for counter, window in zip(counters, grant.windows, strict=True):
        if counter.resets_at != window:
            continue
        if counter.metric == "tokens":
            counter.used += tokens - grant.tokens
        elif counter.metric == "cost":
            counter.used += cost - grant.cost
        elif counter.metric == "concurrency":
            counter.used -= 1


def refusal(counter: Counter, amount: int, now: float) -> GatewayError:
    """The error for a limit that has no room for ``amount``."""
    metric, limit = counter.metric, counter.limit
    if metric == "concurrency":
        message = f"Too many requests at once: {counter.scope} allows {limit}. Wait for one to finish."
        return GatewayError(Kind.RATE_LIMITED, "concurrency_limit_exceeded", message, retry_after=1.0)
    wait = max(1.0, counter.resets_at - now) if counter.resets_at != float("inf") else None
    never = ""
    if amount > limit and metric in ("tokens", "cost"):
        wait, never = None, " This request alone is larger than the limit: ask for fewer tokens."
    if metric == "cost":
        spent, most = counter.used / NANOS_PER_DOLLAR, limit / NANOS_PER_DOLLAR
        message = (
            f"The budget of {counter.scope} does not cover this request: ${spent:.6f} of ${most:.6f} per"
            f" {counter.window} is spent or reserved, and this request may cost ${amount / NANOS_PER_DOLLAR:.6f}."
        )
        return GatewayError(Kind.QUOTA_EXCEEDED, "insufficient_quota", message + never, retry_after=wait)
    message = (
        f"Rate limit reached for {counter.scope}: limit {limit} {metric} per {counter.window},"
        f" used {counter.used}, requested {amount}.{never}"
    )
    return GatewayError(Kind.RATE_LIMITED, "rate_limit_exceeded", message, retry_after=wait)


def limiters_from(settings: Settings) -> dict[str, Limiter]:
    """A limiter for each static key, by key name."""
    plans = {plan.name: plan for plan in settings.plans if isinstance(plan, Plan)}
    return {key.name: Limiter(_counters(key, plans)) for key in settings.keys}


def _counters(key: Key, plans: dict[str, Plan]) -> Iterable[Counter]:
    for limit in key.limits:
        yield _counter(limit, f"key '{key.name}'")
    if key.budget is not None:
        yield _budget(key.budget, f"key '{key.name}'")
    if key.plan is not None:
        for limit in plans[key.plan].limits:
            yield _counter(limit, f"plan '{key.plan}'")


def _counter(limit: Limit, scope: str) -> Counter:
    return Counter(limit.metric, limit.limit, limit.window, scope)


def _budget(budget: Budget, scope: str) -> Counter:
    return Counter("cost", budget.amount, budget.period, scope)


def carry_over(old: dict[str, Limiter], new: dict[str, Limiter]) -> dict[str, Limiter]:
    """The limiters of the ``new`` configuration, with what was used under the ``old``: a limit that is still there goes
    on counting.

    A key that is still there keeps its limiter, because requests of the old configuration are still admitted and
    settled by it; its counters stay where nothing but the limit changed.
    """
    limiters = {}
    for name, limiter in new.items():
        before = limiters[name] = old.get(name, limiter)
        if before is limiter:
            continue
        known: dict[tuple[str, str | None, str], list[Counter]] = {}
        for counter in before.counters:
            known.setdefault((counter.metric, counter.window, counter.scope), []).append(counter)
        kept = []
        for counter in limiter.counters:
            same = known.get((counter.metric, counter.window, counter.scope))
            if same:
                same[0].limit = counter.limit
            kept.append(same.pop(0) if same else counter)
        before.take(tuple(kept))
    return limiters
