"""Slices of limits that several processes share: leased ahead, spent locally, given back when idle or recalled.

::

    request ─ fits the lease? ──yes──▶ admitted, no round trip
                  │ no
                  ▼
    one call of the store for all that waits: grant all a request lacks, or nothing
                  │ refused, and others hold what they may not need
                  ▼
    recalled: wait until they have answered (``recall_wait`` at most), ask again

Once a second every process tells what it spent, gives back what lies idle, and so shows that it lives. Of one that
died, what it had not told as spent is free again after five seconds. The largest error is what a process spends between
its last telling and its death, or, cut off from the store, what it holds leased (:attr:`Leases.unspent`).

When the store gives no answer within its deadline, requests that fit a lease go on (``lease``), none does (``closed``),
or each process counts for itself (``open``); until the store answers, nobody waits for it again. Then what was spent is
told, in every case.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from gateway.contract.leases import LeaseStore, Verdict, check_amount
from gateway.dataplane.admission.counters import Counter
from gateway.dataplane.admission.limiter import CounterSet, Grant, Shortage
from gateway.dataplane.admission.refusals import refusal
from gateway.dataplane.admission.turns import LeaseOptions, LeaseStats, Turns
from gateway.kernel.errors import GatewayError, Kind

__all__ = ["LeaseOptions", "LeaseStats", "Leases"]

ROUNDS = 64
"""How often a request asks again whose lease was taken by another: each time, another one was admitted."""
RECALL_PAUSE = 0.01
"""A limit is recalled at most so often, by all processes together."""
WAITS = 4
"""How often others are waited for where what they gave back was taken by another, or more is held since."""
RETRY_AFTER = 1.0


class Leases:
    """A :class:`~gateway.dataplane.admission.limiter.Lender`, and what keeps the counters of a
    :class:`~gateway.dataplane.admission.registry.Registry` with ``leased``. :meth:`run` must be running.
    """

    def __init__(
        self, store: LeaseStore, options: LeaseOptions | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.options = options if options is not None else LeaseOptions()
        self._turns = Turns(store, self.options, clock)
        self._clock = clock

    @property
    def stats(self) -> LeaseStats:
        """What happened since the start."""
        return self._turns.stats

    @property
    def down_since(self) -> float | None:
        """When the store ceased to answer (Unix seconds); None while it answers."""
        return self._turns.down_since

    @property
    def unspent(self) -> int:
        """What is leased and not spent, over all limits: the most that this process can spend beyond them, cut off."""
        return self._turns.accounts.unspent()

    # life

    async def run(self) -> None:
        """Speak with the store until cancelled. Nothing is admitted by :meth:`admit` afterwards."""
        await self._turns.run()

    async def beat(self) -> None:
        """Tell what is spent and give back what lies idle now, and wait until that is done."""
        await self._turns.beat()

    async def close(self) -> None:
        """Give everything back; after :meth:`run` has ended. Takes a deadline of the store at most where it is away."""
        await self._turns.close()

    # gateway.dataplane.admission.registry.Kept

    def load(self, counters: Sequence[Counter]) -> None:
        """Nothing is known of a shared limit before something is leased of it."""

    def touched(self, counter: Counter) -> None:
        """Tell of this counter's settled use with the next beat."""
        counter.count.dirty = True
        self._turns.touched.append(counter)

    # gateway.dataplane.admission.limiter.Lender

    async def admit(self, shortage: Shortage) -> Grant:
        """See :meth:`gateway.dataplane.admission.limiter.Lender.admit`. A caller who is cancelled loses nothing: what
        was leased for it stays here.
        """
        counters, tokens, cost = shortage.counters, shortage.tokens, shortage.cost
        begun, waits = time.monotonic(), 0
        for _ in range(ROUNDS):
            try:
                return counters.admit(tokens, cost, self._clock())
            except Shortage:
                needs = [(c, counters.amount_of(c, tokens, cost)) for c, _ in counters.needs(tokens, cost)]
            asked = time.monotonic()
            verdict = await self._ask(needs)
            if verdict is None or verdict.short < 0:
                return self._without(counters, tokens, cost)
            if verdict.short:
                late = asked - begun >= self.options.recall_wait
                if late or waits == WAITS or self._turns.recalls.settled(verdict.waiting, begun, asked):
                    self.stats.refused += 1
                    raise refusal(*needs[verdict.short - 1], self._clock())
                waits += await self._others(verdict, begun)
        raise _unavailable("is asked for by too many requests at once")

    async def _others(self, verdict: Verdict, begun: float) -> bool:
        """Wait for what others may give back: nothing is refused by what they told before the request came, unless they
        are silent for too long. Says whether they were asked; else they could not be, because they had just been.
        """
        recalls, until = self._turns.recalls, begun + self.options.recall_wait
        if recalls.since(verdict.waiting) >= begun:
            await recalls.wait(verdict.waiting, until)
            return True
        await asyncio.sleep(max(0.0, min(RECALL_PAUSE, until - time.monotonic())))
        return False

    def _without(self, counters: CounterSet, tokens: int, cost: int) -> Grant:
        """Decide while the store is away."""
        if self.options.on_store_failure != "open":
            raise _unavailable("can't be shared with the other processes now")
        for counter in counters.all:
            self._turns.accounts.allow(counter)
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
        return await self._turns.ask(needs, self.options.waiting)


def _unavailable(why: str) -> GatewayError:
    message = f"A limit of this request {why}. Try again in a moment."
    return GatewayError(Kind.UNAVAILABLE, "limits_unavailable", message, retry_after=RETRY_AFTER)
