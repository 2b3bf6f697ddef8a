"""One request at two targets: the second is called when the first is late, and the first that answers is the answer.

The race is decided by the first piece of an answer, or by a whole one. The loser's connection is closed in that very
moment, so that its upstream stops generating; what it has cost until then is told apart in the usage event.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.contract.usage import Tokens
from gateway.dataplane import answers
from gateway.dataplane.admission.limiter import BYTES_PER_TOKEN
from gateway.dataplane.attempt import PASSING, Attempt
from gateway.dataplane.breaker import CLOSED
from gateway.dataplane.flow import INTO_TASK
from gateway.dataplane.places import take_turn
from gateway.dataplane.pricing import cost_of
from gateway.dataplane.sending import STALE, acquire, request_for
from gateway.dataplane.upstream.errors import UpstreamError

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.hedging import Hedging
    from gateway.dataplane.target import Target

LOST = "hedge_lost"
"""The reason recorded of a call that another was quicker than."""


async def attempt_hedged(exchange: Exchange, hedging: Hedging, target: Target, second: Target, delay: float) -> Attempt:
    """As :func:`~gateway.dataplane.sending.attempt_once`, with a second target called after ``delay`` seconds."""
    if exchange.by_hand:
        await INTO_TASK
    exchange.tokens = exchange.uncounted = None
    exchange.events_seen = 0
    race = Race(exchange)
    try:
        await race.run(hedging, target, second, delay)
    except asyncio.CancelledError:
        await race.abandon()
        raise
    attempt = race.result()
    if attempt.events is not None:
        exchange.tokens = attempt.events.tokens
        exchange.events_seen = attempt.events.events
        exchange.uncounted = attempt.events
    exchange.target = attempt.target
    if race.winner is not None and len(race.attempts) > 1 and attempt is race.attempts[1]:
        hedging.won += 1
    return attempt


def prompt_cost(exchange: Exchange, target: Target) -> int:
    """What reading the prompt costs at a target, in nano-dollars; 0 where its price is not known."""
    if target.rate is None:
        return 0
    return cost_of(target.rate, Tokens(prompt=len(exchange.raw) // BYTES_PER_TOKEN)) or 0


class Race:
    """``attempts`` in the order they were started; ``winner`` is the one that the client gets."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.attempts: list[Attempt] = []
        self.winner: Attempt | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._decided: asyncio.Future[None] = exchange.wire.loop.create_future()

    async def run(self, hedging: Hedging, target: Target, second: Target, delay: float) -> None:
        """Until one has answered, or all have failed."""
        self._start(target)
        await asyncio.wait((self._tasks[0], self._decided), timeout=delay, return_when=asyncio.FIRST_COMPLETED)
        is_late = not self._tasks[0].done() and self.winner is None
        if (
            is_late
            and second.breaker.state == CLOSED
            and second.has_room
            and hedging.take(prompt_cost(self.exchange, second))
        ):
            self._start(second)
        while self.winner is None and not all(task.done() for task in self._tasks):
            running = [task for task in self._tasks if not task.done()]
            await asyncio.wait((*running, self._decided), return_when=asyncio.FIRST_COMPLETED)
        if self.winner is not None:
            await self._tasks[self.attempts.index(self.winner)]
        self._decided.cancel()
        self.exchange.attempt = None
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    def _start(self, target: Target) -> None:
        attempt = Attempt(self.exchange, target)
        attempt.race = self
        self.attempts.append(attempt)
        self._tasks.append(self.exchange.wire.loop.create_task(self._call(len(self.attempts) - 1)))

    async def _call(self, place: int) -> None:
        limit = self.attempts[place].target.limit
        if limit is None:
            await self._send(place)
            return
        try:
            waiter = await take_turn(self.exchange, self.attempts[place].target, limit)
        except UpstreamError as error:
            self.attempts[place].error = error
            return
        try:
            if self.winner is None:
                if waiter is not None:
                    self._renew(place)  # how soon it is answered is measured from now on
                await self._send(place)
        finally:
            limit.release(waiter)

    async def _send(self, place: int) -> None:
        again = False
        while True:
            attempt = self.attempts[place]
            target = attempt.target
            request = request_for(self.exchange, target)
            try:
                connection = target.pool.take_idle() or await acquire(self.exchange, target)
            except UpstreamError as error:
                attempt.error = error
                return
            if attempt.finished or self.winner is not None:
                target.pool.release(connection)  # it was decided while this one was dialling
                return
            attempt.send(connection, request)
            await attempt
            if again or not attempt.went_stale:
                break
            again = True
            self.exchange.attempts.append(attempt.record(STALE))
            target.pool.drop_stale()
            self._renew(place)
        if self.winner is None and not attempt.cancelled and _answers(attempt):
            self.won(attempt)

    def _renew(self, place: int) -> None:
        self.attempts[place] = Attempt(self.exchange, self.attempts[place].target)
        self.attempts[place].race = self

    def won(self, attempt: Attempt) -> None:
        """This one's answer is the client's. Called before the first piece of it goes out."""
        if self.winner is not None:
            return
        self.winner = attempt
        exchange = self.exchange
        for other in self.attempts:
            if other is not attempt:
                self._lose(other)
        attempt.number = len(exchange.attempts) + 1
        exchange.attempt = attempt if not attempt.finished else None
        exchange.target = attempt.target
        if not self._decided.done():
            self._decided.set_result(None)

    def _lose(self, attempt: Attempt) -> None:
        exchange = self.exchange
        if attempt.finished or attempt.error is not None:
            answers.note_failure(exchange, attempt)
            return
        attempt.cancel()
        if attempt.connection is None:
            self._tasks[self.attempts.index(attempt)].cancel()
            exchange.attempts.append(attempt.record(LOST))  # it was not sent
        else:
            exchange.attempts.append(attempt.record(LOST, Tokens(prompt=len(exchange.raw) // BYTES_PER_TOKEN)))

    def result(self) -> Attempt:
        """The winner; where there is none the one that failed last, the others being recorded."""
        if self.winner is not None:
            return self.winner
        for failed in self.attempts[:-1]:
            answers.note_failure(self.exchange, failed)
        last = self.attempts[-1]
        last.number = len(self.exchange.attempts) + 1
        return last

    async def abandon(self) -> None:
        """The client left, or the worker ends: both are given up."""
        for attempt, task in zip(self.attempts, self._tasks, strict=True):
            if not attempt.finished and attempt.error is None:
                attempt.cancel()
                task.cancel()
                self.exchange.attempts.append(attempt.record("cancelled"))
        self._decided.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _answers(attempt: Attempt) -> bool:
    """Whether a finished attempt is worth the client's having it: an answer, or a refusal that another target would
    not take back.
    """
    status = attempt.status
    return attempt.error is None and status is not None and status < 500 and status not in PASSING
