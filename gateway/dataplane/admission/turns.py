"""A process's turns with the store of leases: what it tells, asks for, gives back, and does when there is no answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from gateway.bus.backoff import Backoff
from gateway.contract.leases import Call, Claim, LeaseStore, Notice, StoreUnavailable, Verdict, Want
from gateway.dataplane.admission.accounts import Account, Accounts
from gateway.dataplane.admission.counters import Counter
from gateway.dataplane.admission.recalls import Recalls
from gateway.kernel.tasks import end

logger = logging.getLogger("gateway.limits")

OnStoreFailure = Literal["lease", "closed", "open"]
MOST_CLAIMS = 256
MOST_GROUPS = 64


class LeaseOptions(Struct, frozen=True):
    """Seconds. ``waiting`` is how many requests may wait for the store at once."""

    on_store_failure: OnStoreFailure = "lease"
    beat: float = 1.0
    recall_wait: float = 0.05
    waiting: int = 10_000


class LeaseStats:
    """What happened since the start."""

    __slots__ = ("answered", "failures", "leased", "local", "recalls", "refused", "returned", "round_trips")

    def __init__(self) -> None:
        self.round_trips = 0
        """calls of the store, those that only tell included"""
        self.leased = 0
        """grants of a slice"""
        self.returned = 0
        """slices given back, in whole or in part"""
        self.recalls = 0
        """times that others were asked to give back"""
        self.answered = 0
        """recalls by others that this process answered"""
        self.refused = 0
        """requests that the store refused"""
        self.failures = 0
        """calls without an answer"""
        self.local = 0
        """requests admitted without the store, by ``open``"""


class Waiter:
    """A request that lacks something: counters with how much it takes of each."""

    __slots__ = ("accounts", "answer", "needs")

    def __init__(self, needs: Sequence[tuple[Counter, int]], answer: asyncio.Future[Verdict | None]) -> None:
        self.needs = needs
        self.answer = answer
        self.accounts: list[Account] = []

    def wants(self, places: Mapping[str, int]) -> list[Want]:
        return [
            Want(places[account.id], counter.ceiling, amount, account.slice_for(amount))
            for account, (counter, amount) in zip(self.accounts, self.needs, strict=True)
        ]


class Turns:
    """One call at a time goes to the store, with the wants of all requests that wait. ``ask`` what is lacking; the rest
    happens by itself while :meth:`run` runs.
    """

    def __init__(self, store: LeaseStore, options: LeaseOptions, clock: Callable[[], float]) -> None:
        self.stats = LeaseStats()
        self.accounts = Accounts()
        self.recalls = Recalls()
        self.touched: list[Counter] = []
        """Counters whose settled use has changed since the last beat."""
        self.down_since: float | None = None
        self._store = store
        self._options = options
        self._clock = clock
        self._waiters: deque[Waiter] = deque()
        self._telling: dict[str, Account] = {}  # what the next turns tell
        self._wake = asyncio.Event()
        self._backoff = Backoff()
        self._due = 0.0  # when the next beat is, by the loop's clock
        self._beats: list[asyncio.Future[None]] = []
        self._since_ms = 0
        self._ended = False
        self._listening: asyncio.Task[None] | None = None

    async def ask(self, needs: Sequence[tuple[Counter, int]], most: int) -> Verdict | None:
        """The store's verdict; None where there is none, or where ``most`` requests wait for theirs."""
        if self._ended or self.down_since is not None or len(self._waiters) >= most:
            return None
        answer: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(Waiter(needs, answer))
        self._wake.set()
        return await answer

    async def run(self) -> None:
        """Speak with the store until cancelled."""
        loop = asyncio.get_running_loop()
        self._listening = asyncio.create_task(self._store.listen(self._heard))
        self._due = loop.time()
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self._due):
                        await self._wake.wait()
                self._wake.clear()
                sweep = loop.time() >= self._due
                if sweep or self.down_since is None:
                    await self._guarded(sweep)
        finally:
            self._ended = True
            self._listening.cancel()
            self._refuse(self._waiters)

    async def beat(self) -> None:
        """Sweep and tell now, and wait until that is done."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._beats.append(done)
        self._due = 0.0
        self._wake.set()
        await done

    async def close(self) -> None:
        """Give everything back; after :meth:`run` has ended."""
        if self._listening is not None:
            await end(self._listening)
        self._sweep()
        for account in self.accounts.active.values():
            account.keep(account.taken)
        self._telling.update(self.accounts.untold())
        while self._telling and await self._turn(must=False):
            pass
        with contextlib.suppress(StoreUnavailable):
            await self._store.exchange(Call([], leave=True))
        await self._store.close()

    async def _guarded(self, sweep: bool) -> None:
        try:
            await self._turns(sweep)
        except Exception:
            # A fault of ours must not leave requests waiting for ever.
            logger.exception("a turn with the store of limits failed")
            self._refuse(self._waiters)
            self._waiters.clear()
            self._due = asyncio.get_running_loop().time() + self._backoff.next()

    async def _turns(self, sweep: bool) -> None:
        beats, self._beats = self._beats, []
        if sweep:
            self._sweep()
        must = sweep
        while await self._turn(must):
            must = False
        loop = asyncio.get_running_loop()
        if self.down_since is not None:
            self._due = loop.time() + self._backoff.next()
        elif sweep:
            self._due = loop.time() + self._options.beat
        for beat in beats:
            if not beat.done():
                beat.set_result(None)

    def _sweep(self) -> None:
        touched, self.touched = self.touched, []
        for counter in touched:
            counter.count.dirty = False
            self.accounts.of(counter)
        self.stats.returned += self.accounts.sweep(self._clock())
        self._telling.update(self.accounts.untold())
        self.recalls.prune()

    async def _turn(self, must: bool) -> bool:
        """One call, if there is anything to say or it ``must`` be made. Says whether another should follow at once."""
        waiters = self._take()
        accounts = self._speaking(waiters)
        if not (accounts or must):
            return False
        claims = [account.claim() for account in accounts.values()]
        places = {account_id: place for place, account_id in enumerate(accounts, 1)}
        groups = [waiter.wants(places) for waiter in waiters]
        sent = time.monotonic()
        self.stats.round_trips += 1
        try:
            reply = await self._store.exchange(Call(claims, groups, self._since_ms))
        except StoreUnavailable as error:
            for account in accounts.values():
                account.told = None  # the store may have heard it, and lent something, or not
            self._failed(error, waiters)
            return False
        except BaseException:
            self._refuse(waiters)
            raise
        self._answered()
        if reply.forgotten:
            self._forgotten(waiters)
            return True
        self._since_ms = reply.now_ms
        self._learn(list(zip(accounts.values(), claims, reply.leased, strict=True)))
        for waiter, verdict in zip(waiters, reply.verdicts, strict=True):
            self._tell(waiter, verdict, sent)
        self._called_back([counter for counter in reply.recalled if not self.recalls.known(counter)])
        if waiters:
            await asyncio.sleep(0)  # who was lent something takes it before anything is given back
        return bool(self._waiters or self._telling)

    def _take(self) -> list[Waiter]:
        """The requests whose wants go with this call; what must be told first goes before them."""
        taken: list[Waiter] = []
        later: list[Waiter] = []
        accounts = 0
        while self._waiters and len(taken) < MOST_GROUPS and accounts < MOST_CLAIMS // 2:
            waiter = self._waiters.popleft()
            if waiter.answer.done():
                continue
            waiter.accounts = [self.accounts.of(counter) for counter, _ in waiter.needs]
            closing = [account for account in waiter.accounts if account.closing]
            self._telling.update((account.id, account) for account in closing)
            (later if closing else taken).append(waiter)
            accounts += len(waiter.accounts)
        self._waiters.extendleft(reversed(later))
        return taken

    def _speaking(self, waiters: Sequence[Waiter]) -> dict[str, Account]:
        """The accounts this call tells of, as they are now."""
        accounts = {account.id: account for waiter in waiters for account in waiter.accounts}
        while self._telling and len(accounts) < MOST_CLAIMS:
            account_id = next(iter(self._telling))
            accounts[account_id] = self._telling.pop(account_id)
        for account_id, account in accounts.items():
            self._telling.pop(account_id, None)
            account.look()
            if account.recalled:
                self.stats.returned += account.keep(account.taken) > 0
        return accounts

    def _learn(self, told: Sequence[tuple[Account, Claim, int]]) -> None:
        for account, claim, leased in told:
            self.stats.answered += claim.answer
            account.lent(claim, leased)
            if account.closing and not account.closed:
                self._telling[account.id] = account
        self.accounts.settle([account for account, _, _ in told], self._clock())

    def _tell(self, waiter: Waiter, verdict: Verdict, sent: float) -> None:
        now = self._clock()
        if verdict.short >= 0:
            for account, got in zip(waiter.accounts, verdict.wants, strict=True):
                self.stats.leased += got.granted > 0
                account.heard(got, now, refused=verdict.short > 0)
        if verdict.fresh:
            self.stats.recalls += 1
            self.recalls.begin(verdict.fresh, sent)
        if not waiter.answer.done():
            waiter.answer.set_result(verdict)

    # recalls

    def _heard(self, notice: Notice) -> None:
        if notice.kind == "told":
            self.recalls.told(notice.node, notice.counters)
            return
        self.recalls.begin(notice.counters)
        # Who recalls answers as well: another may wait for the same, and for a while nothing is recalled again.
        self._called_back(notice.counters, answer=True)

    def _called_back(self, counters: Sequence[str], *, answer: bool = False) -> None:
        """Give back what is not needed of these. Who waits for it wants an ``answer`` even where that is nothing."""
        for counter in counters:
            account = self.accounts.active.get(counter)
            if account is not None and not account.closing and (answer or account.granted > account.taken):
                account.recalled += 1
                self._telling[counter] = account
                self._wake.set()

    # failures

    def _failed(self, error: StoreUnavailable, waiters: Sequence[Waiter]) -> None:
        self.stats.failures += 1
        if self.down_since is None:
            self.down_since = self._clock()
            extra = {"reason": str(error), "on_store_failure": self._options.on_store_failure}
            logger.error("limits can't be shared: no answer from the store", extra=extra)
        if self._options.on_store_failure == "closed":
            self.accounts.freeze()
        self._telling.clear()  # the next sweep finds it again
        self._refuse(waiters)
        self._refuse(self._waiters)
        self._waiters.clear()

    def _answered(self) -> None:
        self._backoff.reset()
        if self.down_since is not None:
            logger.warning("limits are shared again", extra={"seconds": round(self._clock() - self.down_since, 3)})
            self.down_since = None
            self.accounts.restrain()

    def _forgotten(self, waiters: Sequence[Waiter]) -> None:
        logger.warning("the store has forgotten this process: what it spent is declared anew")
        self.accounts.forgotten(self._clock())
        self._telling.update(self.accounts.untold())
        self._waiters.extendleft(reversed(waiters))

    @staticmethod
    def _refuse(waiters: Iterable[Waiter]) -> None:
        for waiter in waiters:
            if not waiter.answer.done():
                waiter.answer.set_result(None)
