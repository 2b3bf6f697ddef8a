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
        year, month = (at.tm_year, at.tm_mon) if unit == "month" else (at.tm_year, 1)
        after = (year + (month == 12), month % 12 + 1) if unit == "month" else (year + 1, 1)
        return float(calendar.timegm((year, month, 1, 0, 0, 0))), float(calendar.timegm((*after, 1, 0, 0, 0)))
    if unit == "week":
        start = now - (now - (7 - _EPOCH_WEEKDAY) * _DAY) % (7 * _DAY)
        return start, start + 7 * _DAY
    span = count * _UNITS[unit]
    start = now - now % span
    return start, start + span


class Counter:
    """Use of one metric in the current window; ``concurrency`` has no window and counts what is held."""

    __slots__ = ("limit", "metric", "resets_at", "scope", "used", "window")

    def __init__(self, metric: str, limit: float, window: str | None, scope: str) -> None:
        self.metric = metric
        self.limit = int(limit * NANOS_PER_DOLLAR) if metric == "cost" else int(limit)
        self.window = window
        self.scope = scope
        self.used = 0
        self.resets_at = 0.0

    def roll(self, now: float) -> None:
        """Start the window that holds ``now``."""
        self.used = 0
        self.resets_at = window_bounds(self.window, now)[1] if self.window is not None else float("inf")


class Grant:
    """What an admitted request holds until it is settled. ``windows`` tells which window each amount was taken in."""

    __slots__ = ("cost", "taken", "tokens")

    def __init__(self, tokens: int, cost: int, taken: list[tuple[Counter, int, float]]) -> None:
        self.tokens = tokens
        self.cost = cost
        self.taken = taken


class Limiter:
    """The counters of one key: its own limits, its budget and its plan's limits."""

    __slots__ = ("counters", "counts_cost")

    def __init__(self, counters: Iterable[Counter]) -> None:
        self.counters = tuple(counters)
        self.counts_cost = any(counter.metric == "cost" for counter in self.counters)

    def admit(self, tokens: int, cost: int, now: float) -> Grant:
        """Reserve one request of ``tokens`` and ``cost`` (nano-dollars). Raises :class:`GatewayError`."""
        taken = []
        for counter in self.counters:
            if now >= counter.resets_at:
                counter.roll(now)
            metric = counter.metric
            amount = tokens if metric == "tokens" else cost if metric == "cost" else 1
            if counter.used + amount > counter.limit:
                raise refusal(counter, amount, now)
            taken.append((counter, amount, counter.resets_at))
        for counter, amount, _ in taken:
            counter.used += amount
        return Grant(tokens, cost, taken)


def settle(grant: Grant, tokens: int, cost: int) -> None:
    """Replace what was reserved by what was used, in the windows it was reserved in, and free the concurrency slot."""
    for counter, amount, window in grant.taken:
        if counter.resets_at != window:
            continue  # that window is over and its count is gone
        metric = counter.metric
        if metric == "tokens":
            counter.used += tokens - amount
        elif metric == "cost":
            counter.used += cost - amount
        elif metric == "concurrency":
            counter.used -= 1
    grant.taken = []


def refusal(counter: Counter, amount: int, now: float) -> GatewayError:
    """The error for a limit that has no room for ``amount``."""
    metric, limit = counter.metric, counter.limit
    if metric == "concurrency":
        message = f"Too many requests at once: {counter.scope} allows {limit}. Wait for one to finish."
        return GatewayError(Kind.RATE_LIMITED, "concurrency_limit_exceeded", message, retry_after=1.0)
    wait = max(1.0, counter.resets_at - now) if counter.resets_at != float("inf") else None
    if metric == "cost":
        spent, most = counter.used / NANOS_PER_DOLLAR, limit / NANOS_PER_DOLLAR
        message = (
            f"The budget of {counter.scope} does not cover this request: ${spent:.6f} of ${most:.6f} per"
            f" {counter.window} is spent or reserved, and this request may cost ${amount / NANOS_PER_DOLLAR:.6f}."
        )
        return GatewayError(Kind.QUOTA_EXCEEDED, "insufficient_quota", message, retry_after=wait)
    message = (
        f"Rate limit reached for {counter.scope}: limit {limit} {metric} per {counter.window},"
        f" used {counter.used}, requested {amount}."
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


def carry_over(old: dict[str, Limiter], new: dict[str, Limiter]) -> None:
    """Keep what was used when a configuration is replaced: a limit that is still there goes on counting.

    Grants of running requests settle in the old counter object, so the same object is kept where nothing but the limit
    changed.
    """
    for name, limiter in new.items():
        before = old.get(name)
        if before is None:
            continue
        known = {(c.metric, c.window, c.scope): c for c in before.counters}
        kept = []
        for counter in limiter.counters:
            same = known.get((counter.metric, counter.window, counter.scope))
            if same is not None:
                same.limit = counter.limit
            kept.append(same or counter)
        limiter.counters = tuple(kept)
