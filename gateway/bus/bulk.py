"""Look-ups of keys, gathered: those that come while answers are under way go together with the next question.

A worker that has just started needs every key that is in use at once. Asked one by one, the sidecar spends more on the
questions than on the answers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import NamedTuple

from gateway.bus.policy import PolicyUnavailable, Query
from gateway.contract.policy import Resolution

MOST = 256
"""Keys in one question: answered in some ten milliseconds."""
UNDER_WAY = 2
"""Questions at a time: while the answer to one is taken in, the sidecar works on the other."""
WAITING_MOST = 20_000
PATIENCE = 10.0
"""Seconds a look-up waits for its turn behind others, as long as the sidecar answers at all."""

Ask = Callable[[Sequence[Query]], Awaitable[Sequence[Resolution]]]


class _Waiting(NamedTuple):
    query: Query
    answer: asyncio.Future[Resolution]
    until: float


class Bulk:
    """``ask`` puts at most :data:`MOST` queries to the sidecar; it may answer only the first ones, but one at least.

    Its :class:`PolicyUnavailable` is that of all who wait: nobody waits for a sidecar that has just not answered.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._waiting: deque[_Waiting] = deque()
        self._asking: set[asyncio.Task[None]] = set()

    async def resolve(self, query: Query) -> Resolution:
        """Whose key it is. Raises :class:`PolicyUnavailable`."""
        if len(self._waiting) >= WAITING_MOST:
            raise PolicyUnavailable(f"{WAITING_MOST:,} look-ups wait already")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Resolution] = loop.create_future()
        self._waiting.append(_Waiting(query, answer, monotonic() + PATIENCE))
        if len(self._asking) < UNDER_WAY:
            # It runs in the loop's next turn: what is asked for in this one goes with it.
            task = loop.create_task(self._run())
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return await answer

    def close(self) -> None:
        """Stop asking; who waits is told."""
        for task in self._asking:
            task.cancel()
        self._fail(self._waiting, PolicyUnavailable("the connection to the sidecar was closed"))

    async def _run(self) -> None:
        while batch := self._take():
            try:
                answers = await self._ask([one.query for one in batch])
                if not 0 < len(answers) <= len(batch):
                    raise PolicyUnavailable(f"the sidecar answered {len(answers)} of {len(batch)} look-ups")
            except PolicyUnavailable as error:
                self._fail(batch, error)
                self._fail(self._waiting, error)
                return
            except BaseException:
                # Whatever it is, nobody is left waiting for a task that is gone.
                for waiting in (batch, self._waiting):
                    self._fail(waiting, PolicyUnavailable("the look-up was given up"))
                raise
            for one, answer in zip(batch, answers, strict=False):
                if not one.answer.done():
                    one.answer.set_result(answer)
            self._waiting.extendleft(reversed(batch[len(answers) :]))

    def _take(self) -> list[_Waiting]:
        """The next to ask for; whose time is over is told so, who has left is forgotten."""
        batch: list[_Waiting] = []
        now = monotonic()
        while self._waiting and len(batch) < MOST:
            one = self._waiting.popleft()
            if one.answer.done():
                continue
            if one.until <= now:
                one.answer.set_exception(PolicyUnavailable(f"the sidecar had no time within {PATIENCE:g} s"))
            else:
                batch.append(one)
        return batch

    def _fail(self, waiting: list[_Waiting] | deque[_Waiting], error: PolicyUnavailable) -> None:
        for one in waiting:
            if not one.answer.done():
                one.answer.set_exception(PolicyUnavailable(*error.args))
        waiting.clear()
