"""Reserve, then settle: all limits of a request are checked, then all are taken or none.

A refused request burns nothing. Tokens and money are reserved at their worst case and settled at what was used, in the
windows they were reserved in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from gateway.dataplane.admission.counters import FOREVER, Counter
from gateway.dataplane.admission.refusals import refusal

DEFAULT_COMPLETION_TOKENS = 1_024
"""Reserved for the answer where the request sets no maximum; settled at the real count."""
CLOCK_SLACK = 60.0
"""Seconds that a clock may be set back without windows beginning anew."""
BYTES_PER_TOKEN = 4
"""A prompt's estimate before an upstream has counted it."""


class Shortage(Exception):
    """What is leased of a shared limit does not cover the request: more must be asked for."""

    def __init__(self, counters: CounterSet, tokens: int, cost: int) -> None:
        self.counters = counters
        self.tokens = tokens
        self.cost = cost


class Era:
    """Counts the windows that began anew, of all counters that share it: while it stands still, none did.

    ``touched`` is called with a counter whose settled use has changed since it was last kept.
    """

    __slots__ = ("touched", "value")

    def __init__(self, touched: Callable[[Counter], None]) -> None:
        self.value = 0
        self.touched = touched


class Lender(Protocol):
    """Where more of a shared limit comes from."""

    async def admit(self, shortage: Shortage) -> Grant:
        """Lease what the request lacks and admit it. Raises :class:`~gateway.kernel.errors.GatewayError`."""


class Grant:
    """What an admitted request holds until it is settled."""

    __slots__ = ("cost", "counters", "era", "held", "tokens", "windows")

    def __init__(self, counters: CounterSet, tokens: int, cost: int) -> None:
        self.counters = counters
        self.tokens = tokens
        self.cost = cost
        self.era = counters.era.value
        self.windows = counters.windows
        self.held = True


class CounterSet:
    """The counters that one kind of request of one credential is held to, in the order they are checked."""

    __slots__ = (
        "all",
        "concurrency",
        "cost",
        "cost_counts",
        "era",
        "leased",
        "monthly",
        "next_roll",
        "request_counts",
        "requests",
        "since",
        "sliding",
        "slots",
        "token_counts",
        "tokens",
        "windows",
    )

    def __init__(self, counters: Iterable[Counter], era: Era) -> None:
        self.era = era
        self.all = tuple(counters)
        self.requests = tuple(c for c in self.all if c.metric in ("requests", "ai_requests"))
        self.tokens = tuple(c for c in self.all if c.metric == "tokens")
        self.cost = tuple(c for c in self.all if c.metric == "cost")
        self.concurrency = tuple(c for c in self.all if c.metric == "concurrency")
        self.request_counts = tuple(c.count for c in self.requests)
        self.monthly = tuple(c.count for c in self.requests if c.window == "month")
        self.token_counts = tuple(c.count for c in self.tokens)
        self.cost_counts = tuple(c.count for c in self.cost)
        self.slots = tuple(c.count for c in self.concurrency)
        self.sliding = tuple(c for c in self.all if c.sliding and not c.leased)
        self.leased = any(c.leased for c in self.all)
        self._mark()

    def _mark(self) -> None:
        self.windows = tuple(counter.resets_at for counter in self.all)
        self.next_roll = min(self.windows, default=FOREVER)
        self.since = max((counter.starts_at for counter in self.all), default=0.0) - CLOCK_SLACK

    def roll(self, now: float) -> None:
        """Start the windows that are due at ``now``, those too that a clock once set far ahead had begun."""
        for counter in self.all:
            if now >= counter.resets_at or now < counter.starts_at - CLOCK_SLACK:
                if counter.resets_at:
                    self.era.value += 1
                counter.roll(now)
        self._mark()

    def admit(self, tokens: int, cost: int, now: float) -> Grant:
        """Reserve one request of ``tokens`` and ``cost`` (nano-dollars) at Unix time ``now``.

        Raises :class:`GatewayError`, or :class:`Shortage` where the limit is shared, and then nothing is taken.
        """
        if not self.since <= now < self.next_roll:
            self.roll(now)
        for counter in self.sliding:
            counter.slide(now)
        for place, count in enumerate(self.slots):
            if count.reserved >= count.limit:
                raise self._full(self.concurrency[place], 1, tokens, cost, now)
        for place, count in enumerate(self.request_counts):
            if count.used + count.reserved >= count.limit:
                raise self._full(self.requests[place], 1, tokens, cost, now)
        for place, count in enumerate(self.token_counts):
            if count.used + count.reserved + tokens > count.limit:
                raise self._full(self.tokens[place], tokens, tokens, cost, now)
        for place, count in enumerate(self.cost_counts):
            if count.used + count.reserved + cost > count.limit:
                raise self._full(self.cost[place], cost, tokens, cost, now)
        for count in self.slots:
            count.reserved += 1
        for count in self.request_counts:
            count.reserved += 1
        for count in self.token_counts:
            count.reserved += tokens
        for count in self.cost_counts:
            count.reserved += cost
        return Grant(self, tokens, cost)

    def _full(self, counter: Counter, amount: int, tokens: int, cost: int, now: float) -> Exception:
        if counter.leased and now >= counter.dry_until:
            return Shortage(self, tokens, cost)
        return refusal(counter, amount, now)

    def needs(self, tokens: int, cost: int) -> list[tuple[Counter, int]]:
        """The leased counters that do not cover the request, each with what is missing."""
        short = []
        for counter in self.all:
            if counter.leased:
                missing = counter.count.taken + self.amount_of(counter, tokens, cost) - counter.count.limit
                if missing > 0:
                    short.append((counter, missing))
        return short

    @staticmethod
    def amount_of(counter: Counter, tokens: int, cost: int) -> int:
        """How much of a counter a request takes."""
        if counter.metric == "tokens":
            return tokens
        return cost if counter.metric == "cost" else 1

    def remaining(self) -> int | None:
        """Requests left of the month; of the limit with the least left where none is by the month; None: no limit."""
        least: int | None = None
        for count in self.monthly or self.request_counts:
            left = count.left
            if least is None or left < least:
                least = left
        return None if least is None else max(0, least)

    def rate_lines(self) -> bytes:
        """The rate headers of the request limit with the least left; empty where requests are not limited."""
        tightest, least = None, 0
        for count in self.request_counts:
            left = count.left
            if tightest is None or left < least:
                tightest, least = count, left
        if tightest is None:
            return b""
        return b"%b%d%b" % (tightest.head, least if least > 0 else 0, tightest.tail)


def settle(grant: Grant, tokens: int, cost: int) -> None:
    """Replace what was reserved by what was used and free the concurrency slot. A second call does nothing."""
    if not grant.held:
        return
    grant.held = False
    counters = grant.counters
    era = counters.era
    if grant.era != era.value:
        _settle_late(grant, 1, tokens, cost)
        return
    for place, count in enumerate(counters.request_counts):
        count.reserved -= 1
        count.used += 1
        if not count.dirty:
            era.touched(counters.requests[place])
    for place, count in enumerate(counters.token_counts):
        count.reserved -= grant.tokens
        count.used += tokens
        if not count.dirty:
            era.touched(counters.tokens[place])
    for place, count in enumerate(counters.cost_counts):
        count.reserved -= grant.cost
        count.used += cost
        if not count.dirty:
            era.touched(counters.cost[place])
    for count in counters.slots:
        count.reserved -= 1


def undo(grant: Grant) -> None:
    """Give back all that was taken, the request itself included: it is admitted anew as something else."""
    if grant.held:
        grant.held = False
        _settle_late(grant, 0, 0, 0)


def _settle_late(grant: Grant, requests: int, tokens: int, cost: int) -> None:
    # A window that is over keeps its count only where it slides into the next; nothing is given to another window.
    counters = grant.counters
    for counter, window in zip(counters.all, grant.windows, strict=True):
        count = counter.count
        if counter.metric == "concurrency":
            count.reserved -= 1
            continue
        if counter.metric == "tokens":
            held, used = grant.tokens, tokens
        elif counter.metric == "cost":
            held, used = grant.cost, cost
        else:
            held, used = 1, requests
        if counter.resets_at == window:
            count.reserved -= held
            count.used += used
        elif counter.sliding and counter.starts_at == window:
            counter.previous += used - held
        else:
            continue
        if not count.dirty:
            counters.era.touched(counter)
