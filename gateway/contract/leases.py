"""How processes share limits: each leases slices of a limit's window from a common store and spends them by itself.

A process tells the store, in every call, the whole of what it holds of the counters it speaks of (a :class:`Claim`), so
that a call which was lost, or answered to nobody, is made good by the next. A request that does not fit what is leased
asks for more of all its limits at once (a group of :class:`Want`): all are granted or none is.

Amounts are requests, tokens or nano-dollars, at most :data:`MAX_AMOUNT`: the store counts in doubles, which are exact
up to there (9,007,199 dollars). Times are Unix milliseconds where a name ends in ``_ms`` and Unix seconds elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from gateway.contract.policy import LimitPolicy
from gateway.contract.windows import window_bounds
from gateway.kernel.errors import GatewayError, Kind

MAX_AMOUNT = 2**53 - 1

WindowKind = Literal["w", "s", "c"]
"""``w`` a window aligned to the calendar, or ``total``; ``s`` one that slides; ``c`` slots, held and given back."""


class Window(Struct, frozen=True):
    """One limit in one window of its own. ``id`` names it in the store."""

    key: str
    """:attr:`gateway.contract.policy.LimitPolicy.key`"""
    start: int = 0
    resets_at: int = 0
    """0 where it never ends."""
    kind: WindowKind = "w"
    previous: int = 0
    """Where the window before begins, for one that slides."""

    @classmethod
    def at(cls, key: str, now: float) -> Window:
        """The window of a limit at Unix time ``now``, by its key. Raises :class:`ValueError` for what is no key."""
        policy = LimitPolicy.of_key(key)
        return cls.starting(key, policy, *window_bounds(policy.window or "total", now))

    @classmethod
    def starting(cls, key: str, policy: LimitPolicy, start: float, end: float) -> Window:
        """The window of ``policy``, which has this key, from ``start`` to ``end``."""
        if policy.window is None:
            return cls(key, kind="c")
        if end == float("inf"):
            return cls(key)
        if not policy.sliding:
            return cls(key, int(start), int(end))
        return cls(key, int(start), int(end), "s", int(window_bounds(policy.window, start - 1)[0]))

    @property
    def id(self) -> str:
        """What the store calls it."""
        return f"{self.key}@{self.start}"

    @property
    def previous_id(self) -> str:
        """What the store calls the window before; empty unless it slides."""
        return f"{self.key}@{self.previous}" if self.kind == "s" else ""


class Claim(Struct, array_like=True, frozen=True):
    """What a process holds of one counter, in whole: ``granted`` is leased in this window, of it ``spent`` is settled
    and ``held`` is reserved by requests under way.

    ``answer`` says that this was recalled. ``close`` ends the account, whose spending must have been told before; what
    is told of it later is counted on top. ``again`` declares it anew after the store forgot it, with ``known``, what
    all processes had spent when it was last heard of.
    """

    counter: str
    kind: str
    resets_ms: int
    length_ms: int
    previous: str
    granted: int
    spent: int
    held: int
    answer: bool = False
    close: bool = False
    again: bool = False
    known: int = 0


class Want(Struct, array_like=True, frozen=True):
    """What a request lacks: ``amount`` must fit what is leased by the claim at place ``claim`` (the first is 1), or
    more is taken from what is free of ``ceiling``; up to ``slice`` is taken while much is free.
    """

    claim: int
    ceiling: int
    amount: int
    slice: int


class Call(Struct, frozen=True):
    """One turn of a process. ``since_ms`` is the store's time of its last turn. ``leave``: it is its last."""

    claims: Sequence[Claim]
    groups: Sequence[Sequence[Want]] = ()
    since_ms: int = 0
    leave: bool = False


class Got(Struct, array_like=True, frozen=True):
    """The answer to a want: what was ``granted`` beside what was leased, and of the whole limit what is still ``free``,
    what is ``used``, and what other processes lease and neither spend nor reserve.
    """

    granted: int
    free: int
    used: int
    elsewhere: int


class Verdict(Struct, array_like=True, frozen=True):
    """The answer to a group. ``short``: 0 granted, else the place of the first want that could not be met; -1 while the
    store has lost its memory and waits to hear what is spent.

    ``waiting``: another try can succeed once for each of these counters the nodes that follow its name have given back
    what they don't need; those in ``fresh`` they were asked only now, the others just before. Empty: there is no hope.
    """

    short: int
    wants: tuple[Got, ...]
    waiting: tuple[tuple[str, ...], ...] = ()
    fresh: tuple[str, ...] = ()


class Reply(Struct, frozen=True):
    """The answer to a call: what is ``leased`` now for each claim, a verdict for each group, and the counters that were
    ``recalled`` since. ``forgotten``: nothing was done, because the store no longer knows this process; it must void
    its leases and declare everything anew.
    """

    now_ms: int = 0
    forgotten: bool = False
    recalled: tuple[str, ...] = ()
    leased: tuple[int, ...] = ()
    verdicts: tuple[Verdict, ...] = ()


class Notice(Struct, frozen=True):
    """``recall``: ``node`` lacks these counters, give back what you don't need. ``told``: ``node`` has answered."""

    kind: Literal["recall", "told"]
    node: str
    counters: tuple[str, ...]


class StoreUnavailable(Exception):
    """The store gave no answer in time. Whether it did what it was asked is unknown, and does not matter."""


class LeaseStore(Protocol):
    """Where limits are shared. One call at a time: the next waits for the answer to the last, or its deadline."""

    node: str
    """This process, and no other nor itself after a restart."""

    async def exchange(self, call: Call) -> Reply:
        """One turn, one round trip. Raises :class:`StoreUnavailable`."""

    async def listen(self, heard: Callable[[Notice], None]) -> None:
        """Hand on notices until cancelled, through failures of the store."""

    async def close(self) -> None:
        """Close every connection."""


def check_amount(amount: int, field: str = "limit") -> None:
    """Raise :class:`GatewayError` for a limit that a shared store can't count exactly."""
    if amount > MAX_AMOUNT:
        raise GatewayError(
            Kind.INVALID,
            "limit_too_large",
            f"A limit that is shared through Redis can be at most {MAX_AMOUNT} (of money: 9,007,199 dollars).",
            field,
        )
