"""What this process leases of each shared limit: its accounts with the store of leases."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable

from gateway.contract.leases import MAX_AMOUNT, Claim, Got, Window
from gateway.dataplane.admission.counters import Counter

FIRST_SLICE = 32
"""Requests like the first one that a first slice covers, where much is free."""
DRY_SECONDS = 1.0


class Account:
    """One limit in one window. ``granted`` is leased, of it ``spent`` is settled and ``held`` is reserved.

    It holds its counter while there is anything to tell or to give back; after that the counter may go.
    """

    __slots__ = (
        "again",
        "answering",
        "ceiling",
        "closed",
        "closing",
        "counter",
        "fresh",
        "granted",
        "held",
        "id",
        "others",
        "recalled",
        "ref",
        "seen",
        "slice",
        "spent",
        "told",
        "window",
    )

    def __init__(self, counter: Counter, window: Window) -> None:
        self.window = window
        self.id = window.id
        self.counter: Counter | None = counter
        self.ref = weakref.ref(counter)
        self.ceiling = counter.ceiling
        self.granted = self.spent = self.held = 0
        self.others = 0  # what all others had spent when it was last heard of
        self.seen = 0  # at the last sweep
        self.slice = 0
        self.fresh = True  # more was leased since the last sweep
        self.told: tuple[int, int, int] | None = None
        self.again = self.closing = self.closed = False
        self.recalled = self.answering = 0

    @property
    def taken(self) -> int:
        """What is spent or reserved."""
        return self.spent + self.held

    @property
    def state(self) -> tuple[int, int, int]:
        """What the store should know."""
        return self.granted, self.spent, self.held

    @property
    def current(self) -> bool:
        """Whether its counter still counts this window."""
        counter = self.ref()
        return counter is not None and (self.window.kind == "c" or int(counter.starts_at) == self.window.start)

    def look(self) -> None:
        """Read the counter."""
        counter = self.ref()
        if counter is None:
            return
        if self.current:
            self.spent, self.held = counter.count.used, counter.count.reserved
        elif self.window.kind == "s" and int(counter.starts_at) == self.window.resets_at:
            # What was under way counts as spent until it is settled.
            self.spent, self.held = counter.previous, 0
        else:
            self.spent, self.held = self.spent + self.held, 0

    def keep(self, amount: int) -> int:
        """Keep no more than ``amount`` of the lease. Gives what is to be returned."""
        returned = max(0, self.granted - amount)
        self.granted -= returned
        if returned and self.current:
            self._limit(self.granted)
        return returned

    def lent(self, claim: Claim, granted: int) -> None:
        """The store has heard this claim, and says that so much is leased."""
        self.granted = granted
        self.told = self.state
        self.closed = claim.close
        self.again = False
        if self.recalled == self.answering:  # else it was recalled once more while the call was under way
            self.recalled = 0
        if self.current:
            self._limit(granted)

    def _limit(self, limit: int) -> None:
        counter = self.ref()
        assert counter is not None
        counter.count.limit = limit

    def slice_for(self, amount: int) -> int:
        """How much to lease where much is free, for a request of ``amount``."""
        if not self.slice:
            self.slice = min(MAX_AMOUNT, FIRST_SLICE * amount)
        return max(self.slice, amount)

    def heard(self, got: Got, now: float, *, refused: bool) -> None:
        """Learn from the answer to a want at Unix time ``now``."""
        self.others = got.used - self.spent
        counter = self.ref()
        if counter is None or not self.current:
            return
        counter.count.free = got.free
        if got.granted:
            if self.fresh:
                self.slice = min(MAX_AMOUNT, max(self.slice, 2 * got.granted))
            self.fresh = True
        elif refused and self.window.kind == "w" and got.used >= counter.ceiling:
            # Spent is spent: only another window or a higher limit helps.
            counter.dry_until = min(counter.resets_at, now + DRY_SECONDS)

    def claim(self) -> Claim:
        """The account as the store is told of it."""
        window = self.window
        self.answering = self.recalled
        resets = window.resets_at * 1000
        length = resets - window.start * 1000 if resets else 0
        return Claim(
            self.id,
            window.kind,
            resets,
            length,
            window.previous_id,
            self.granted,
            self.spent,
            self.held,
            self.recalled > 0,
            self.closing and self.told == self.state,
            self.again,
            max(0, self.others + self.spent) if self.again else 0,
        )

    def over(self, now: float) -> bool:
        """Whether nothing of it matters any more: its window is over, and so is the one it slides into."""
        window = self.window
        if not window.resets_at:
            return False
        slides = window.resets_at - window.start if window.kind == "s" else 0
        return now >= window.resets_at + slides

    def sweep(self, now: float) -> int:
        """Once a second: keep what is needed. Gives what is to be returned."""
        self.look()
        counter = self.ref()
        ended = not self.current or (self.window.resets_at and now >= self.window.resets_at)
        lowered = counter is not None and counter.ceiling < self.ceiling
        idle = self.taken == self.seen and not self.fresh
        if counter is not None:
            self.ceiling = counter.ceiling
        self.seen, self.fresh = self.taken, False
        if not (ended or lowered or idle):
            return 0
        self.slice //= 2
        return self.keep(self.taken)


class Accounts:
    """All accounts of a process. ``active`` ones, by id, have something to tell or to give back."""

    def __init__(self) -> None:
        self.active: dict[str, Account] = {}
        self._current: dict[str, Account] = {}
        self._gone: deque[Account] = deque()

    def __len__(self) -> int:
        return len(self._current)

    def of(self, counter: Counter) -> Account:
        """The account of a counter in its current window, made active; or one of its name that must end first: that is
        ``closing``.
        """
        before = self._current.get(counter.key)
        if before is not None and before.ref() is counter and before.current:
            before.counter = counter
            self.active[before.id] = before
            return before
        self.collect()
        window = Window.starting(counter.key, counter.policy, counter.starts_at, counter.resets_at)
        known = self.active.get(window.id)
        if known is not None:
            assert known.closing, "one limit has two counters"
            return known
        account = Account(counter, window)
        account.ref = weakref.ref(counter, lambda _: self._gone.append(account))
        if before is not None:
            account.slice = before.slice // 2
        self._current[counter.key] = self.active[account.id] = account
        return account

    def collect(self) -> None:
        """Close the accounts whose counters are gone."""
        while self._gone:
            account = self._gone.popleft()
            if self._current.get(account.window.key) is account:
                del self._current[account.window.key]
            # What is told of another counter of this limit begins at 0 again, so this account must end first.
            account.closing = True
            account.held = 0
            self.active[account.id] = account

    def settle(self, accounts: Iterable[Account], now: float) -> None:
        """Let go of those that the store knows all of."""
        for account in accounts:
            if account.closed:
                self.active.pop(account.id, None)
            elif account.closing:
                continue
            elif account.over(now) or (account.told == account.state and self._quiet(account, now)):
                self._rest(account)

    @staticmethod
    def _quiet(account: Account, now: float) -> bool:
        # A window that slides can change after its end, when a request that began in it is settled.
        slides = account.window.kind == "s" and now >= account.window.resets_at
        return account.granted == account.spent and not slides

    def _rest(self, account: Account) -> None:
        account.counter = None
        self.active.pop(account.id, None)

    def sweep(self, now: float) -> int:
        """Look at the active accounts. Gives how many are to return something."""
        self.collect()
        returned = 0
        for account in list(self.active.values()):
            if account.over(now):
                self._rest(account)
            else:
                returned += account.sweep(now) > 0
        return returned

    def untold(self) -> dict[str, Account]:
        """The active accounts that the store doesn't know as they are, by id."""
        return {a.id: a for a in self.active.values() if a.told != a.state or a.closing or a.recalled}

    def forgotten(self, now: float) -> None:
        """The store knows none of it: void what is leased, and declare what is spent anew."""
        for account in list(self._current.values()):
            if not account.over(now):
                counter = account.ref()
                if counter is not None:
                    account.counter = counter
                    self.active[account.id] = account
        for account in self.active.values():
            account.look()
            account.keep(account.taken)
            account.told = None
            account.again = True

    def unspent(self) -> int:
        """What is leased and neither spent nor reserved, of all limits that are counted in the same unit or not."""
        return sum(max(0, account.granted - account.taken) for account in self.active.values())

    def freeze(self) -> None:
        """Spend nothing more of what is leased."""
        for account in self.active.values():
            account.look()
            account.keep(account.taken)

    def allow(self, counter: Counter) -> None:
        """Let this process use the whole of a limit by itself until the store is told of it."""
        account = self.of(counter)
        if not account.closing:
            account.told = None
            counter.count.limit = max(counter.count.limit, counter.ceiling)

    def restrain(self) -> None:
        """End what was allowed beyond the leases while the store was away."""
        for account in self.active.values():
            counter = account.ref()
            if counter is not None and account.current and counter.count.limit > account.granted:
                account.look()
                counter.count.limit = max(account.granted, account.taken)
