"""Slices of limits that several processes share: leased ahead, spent locally, given back when idle or recalled.

::

    request ─ fits the lease? ──yes──▶ admitted, no round trip
                  │ no
                  ▼
    one call of the store for all that waits: grant all a request lacks, or nothing
                  │ refused, and others hold what they may not need
                  ▼
    recalled: wait until they have answered (``recall_wait`` at most), ask once more

Once a second every process tells what it spent, gives back what lies idle, and so shows that it lives. Of one that
died, what it had not told as spent is free again after five seconds. The largest error is what a process spends between
its last telling and its death, or, cut off from the store, what it holds leased (:attr:`Leases.unspent`).

When the store gives no answer within its deadline, requests that fit a lease go on (``lease``), none does (``closed``),
or each process counts for itself (``open``); until the store answers, nobody waits for it again. Then what was spent is
told, in every case.
"""

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
from gateway.contract.leases import Call, Claim, LeaseStore, Notice, StoreUnavailable, Verdict, Want, check_amount
from gateway.dataplane.admission.accounts import Account, Accounts
from gateway.dataplane.admission.counters import Counter
from gateway.dataplane.admission.limiter import CounterSet, Grant, Shortage
from gateway.dataplane.admission.recalls import Recalls
from gateway.dataplane.admission.refusals import refusal
from gateway.kernel.errors import GatewayError, Kind

logger = logging.getLogger("gateway.limits")

OnStoreFailure = Literal["lease", "closed", "open"]
MOST_CLAIMS = 256
MOST_GROUPS = 64
ROUNDS = 64
"""How often a request asks again whose lease was taken by another: each time, another one was admitted."""
RETRY_AFTER = 1.0


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


class _Waiter:
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


class Leases:
    """A :class:`~gateway.dataplane.admission.limiter.Lender`, and what keeps the counters of a
    :class:`~gateway.dataplane.admission.registry.Registry` with ``leased``. :meth:`run` must be running.
    """

    def __init__(
        self, store: LeaseStore, options: LeaseOptions | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.store = store
        self.options = options if options is not None else LeaseOptions()
        self.stats = LeaseStats()
        self.down_since: float | None = None
        """When the store ceased to answer (Unix seconds)."""
        self._clock = clock
        self._accounts = Accounts()
        self._recalls = Recalls()
        self._waiters: deque[_Waiter] = deque()
        self._touched: list[Counter] = []
        self._wake = asyncio.Event()
        self._backoff = Backoff()
        self._due = 0.0  # when the next beat is, by the loop's clock
        self._beats: list[asyncio.Future[None]] = []
        self._telling: dict[str, Account] = {}  # what the next turns tell
        self._since_ms = 0

    @property
    def unspent(self) -> int:
        """What is leased and not spent, over all limits: the most that this process can spend beyond them, cut off."""
        return self._accounts.unspent()

    # gateway.dataplane.admission.registry.Kept

    def load(self, counters: Sequence[Counter]) -> None:
        """Nothing is known of a shared limit before something is leased of it."""

    def touched(self, counter: Counter) -> None:
        """Tell of this counter's settled use with the next beat."""
        counter.dirty = True
        self._touched.append(counter)

    # gateway.dataplane.admission.limiter.Lender

    async def admit(self, shortage: Shortage) -> Grant:
        """See :meth:`gateway.dataplane.admission.limiter.Lender.admit`. A caller who is cancelled loses nothing: what
        was leased for it stays here.
        """
        counters, tokens, cost = shortage.counters, shortage.tokens, shortage.cost
        waited = False
        for _ in range(ROUNDS):
            try:
                return counters.admit(tokens, cost, self._clock())
            except Shortage:
                needs = [(c, counters.amount_of(c, tokens, cost)) for c, _ in counters.needs(tokens, cost)]
            verdict = await self._ask(needs)
            if verdict is None or verdict.short < 0:
                return self._without(counters, tokens, cost)
            if not verdict.short:
                continue
            if waited or not verdict.waiting or self._recalls.answered(verdict.waiting):
                self.stats.refused += 1
                raise refusal(*needs[verdict.short - 1], self._clock())
            waited = True
            await self._recalls.wait(verdict.waiting, self.options.recall_wait)
        raise _unavailable("is asked for by too many requests at once")

    def _without(self, counters: CounterSet, tokens: int, cost: int) -> Grant:
        """Decide while the store is away."""
        if self.options.on_store_failure != "open":
            raise _unavailable("can't be shared with the other processes now")
        for counter in counters.all:
            if not self._accounts.of(counter).closing:
                counter.limit = max(counter.limit, counter.ceiling)
        self.stats.local += 1
        now = self._clock()
        try:
            return counters.admit(tokens, cost, now)
        except Shortage:
            self.stats.local -= 1
            counter = counters.needs(tokens, cost)[0][0]
            raise refusal(counter, counters.amount_of(counter, tokens, cost), now) from None

    async def _ask(self, needs: Sequence[tuple[Counter, int]]) -> Verdict | None:
        """The store's verdict; None where there is none."""
        for counter, _ in needs:
            check_amount(counter.ceiling)
        if self.down_since is not None or len(self._waiters) >= self.options.waiting:
            return None
        answer: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(_Waiter(needs, answer))
        self._wake.set()
        return await answer

    # the turns

    async def run(self) -> None:
        """Speak with the store until cancelled."""
        loop = asyncio.get_running_loop()
        listening = asyncio.create_task(self.store.listen(self._heard))
        self._due = loop.time()
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self._due):
                        await self._wake.wait()
                self._wake.clear()
                sweep = loop.time() >= self._due
                if sweep or self.down_since is None:
                    await self._turns(sweep)
        finally:
            listening.cancel()
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
        self._sweep()
        for account in self._accounts.active.values():
            account.keep(account.taken)
        self._telling.update(self._accounts.untold())
        while self._telling and await self._turn(must=False):
            pass
        with contextlib.suppress(StoreUnavailable):
            await self.store.exchange(Call([], leave=True))
        await self.store.close()

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
            self._due = loop.time() + self.options.beat
        for beat in beats:
            if not beat.done():
                beat.set_result(None)

    def _sweep(self) -> None:
        touched, self._touched = self._touched, []
        for counter in touched:
            counter.dirty = False
            self._accounts.of(counter)
        self.stats.returned += self._accounts.sweep(self._clock())
        self._telling.update(self._accounts.untold())
        self._recalls.prune()

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
            reply = await self.store.exchange(Call(claims, groups, self._since_ms))
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
        self._called_back([counter for counter in reply.recalled if not self._recalls.known(counter)])
        if waiters:
            await asyncio.sleep(0)  # who was lent something takes it before anything is given back
        return bool(self._waiters or self._telling)

    def _take(self) -> list[_Waiter]:
        """The requests whose wants go with this call; what must be told first goes before them."""
        taken: list[_Waiter] = []
        later: list[_Waiter] = []
        accounts = 0
        while self._waiters and len(taken) < MOST_GROUPS and accounts < MOST_CLAIMS // 2:
            waiter = self._waiters.popleft()
            if waiter.answer.done():
                continue
            waiter.accounts = [self._accounts.of(counter) for counter, _ in waiter.needs]
            closing = [account for account in waiter.accounts if account.closing]
            self._telling.update((account.id, account) for account in closing)
            (later if closing else taken).append(waiter)
            accounts += len(waiter.accounts)
        self._waiters.extendleft(reversed(later))
        return taken

    def _speaking(self, waiters: Sequence[_Waiter]) -> dict[str, Account]:
        """The accounts this call tells of, as they are now."""
        accounts = {account.id: account for waiter in waiters for account in waiter.accounts}
        while self._telling and len(accounts) < MOST_CLAIMS:
            account_id = next(iter(self._telling))
            accounts[account_id] = self._telling.pop(account_id)
        for account_id, account in accounts.items():
            self._telling.pop(account_id, None)
            account.look()
            if account.answer:
                self.stats.returned += account.keep(account.taken) > 0
        return accounts

    def _learn(self, told: Sequence[tuple[Account, Claim, int]]) -> None:
        for account, claim, leased in told:
            self.stats.answered += claim.answer
            account.lent(leased, closed=claim.close)
            if account.closing and not account.closed:
                self._telling[account.id] = account
        self._accounts.settle([account for account, _, _ in told], self._clock())

    def _tell(self, waiter: _Waiter, verdict: Verdict, sent: float) -> None:
        now = self._clock()
        if verdict.short >= 0:
            for account, got in zip(waiter.accounts, verdict.wants, strict=True):
                self.stats.leased += got.granted > 0
                account.heard(got, now, refused=verdict.short > 0)
        if verdict.fresh:
            self.stats.recalls += 1
            self._recalls.begin(verdict.fresh, sent)
        if not waiter.answer.done():
            waiter.answer.set_result(verdict)

    # recalls

    def _heard(self, notice: Notice) -> None:
        if notice.kind == "told":
            self._recalls.told(notice.node, notice.counters)
            return
        self._recalls.begin(notice.counters)
        if notice.node != self.store.node:
            self._called_back(notice.counters, answer=True)

    def _called_back(self, counters: Sequence[str], *, answer: bool = False) -> None:
        """Give back what is not needed of these. Who waits for it wants an ``answer`` even where that is nothing."""
        for counter in counters:
            account = self._accounts.active.get(counter)
            if account is not None and not account.closing and (answer or account.granted > account.taken):
                account.answer = True
                self._telling[counter] = account
                self._wake.set()

    # failures

    def _failed(self, error: StoreUnavailable, waiters: Sequence[_Waiter]) -> None:
        self.stats.failures += 1
        if self.down_since is None:
            self.down_since = self._clock()
            extra = {"reason": str(error), "on_store_failure": self.options.on_store_failure}
            logger.error("limits can't be shared: no answer from the store", extra=extra)
        if self.options.on_store_failure == "closed":
            self._accounts.freeze()
        self._telling.clear()  # the next sweep finds it again
        self._refuse(waiters)
        self._refuse(self._waiters)
        self._waiters.clear()

    def _answered(self) -> None:
        self._backoff.reset()
        if self.down_since is not None:
            logger.warning("limits are shared again", extra={"seconds": round(self._clock() - self.down_since, 3)})
            self.down_since = None
            self._accounts.restrain()

    def _forgotten(self, waiters: Sequence[_Waiter]) -> None:
        logger.warning("the store has forgotten this process: what it spent is declared anew")
        self._accounts.forgotten(self._clock())
        self._telling.update(self._accounts.untold())
        self._waiters.extendleft(reversed(waiters))

    @staticmethod
    def _refuse(waiters: Iterable[_Waiter]) -> None:
        for waiter in waiters:
            if not waiter.answer.done():
                waiter.answer.set_result(None)


def _unavailable(why: str) -> GatewayError:
    message = f"A limit of this request {why}. Try again in a moment."
    return GatewayError(Kind.UNAVAILABLE, "limits_unavailable", message, retry_after=RETRY_AFTER)
