"""A gateway before providers that take a while, and organisations that want more of them than there is room for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gateway.dataplane.concurrency import Limit
from gateway.settings.model import (
    Breaker,
    Concurrency,
    Hedge,
    Key,
    Model,
    Plan,
    Provider,
    Retry,
    Server,
    Target,
    Timeouts,
)
from gateway.settings.model import Limit as Limited
from tests.faults.resilience.stage import Got
from tests.faults.upstream.call import Call
from tests.support.raw_upstream import LAST_CHUNK, WAIT, Peer, answer, chunk, raw_upstream
from tests.support.wire import chat, post, wire
from tests.support.worker import RunningWorker, running_worker, settings_for

KEYS = {"acme": "gw_test_of_acme", "bolt": "gw_test_of_bolt", "heavy": "gw_test_of_heavy"}
"""A key of each organisation; ``heavy`` has a plan with three times the weight."""


class Crowded:
    """A provider. ``held``: it answers nobody before :meth:`let`; else each after ``seconds``, and later in proportion
    where more than ``capacity`` calls are under way. ``users`` are who called, in order, by the field ``user``.
    """

    def __init__(self) -> None:
        self.held = False
        self.seconds = 0.0
        self.capacity = 1_000_000
        self.refuse = b""
        self.users: list[str] = []
        self.in_flight = 0
        self.most = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def serve(self, peer: Peer) -> None:
        """One connection."""
        while True:
            call = Call(peer, await peer.request(), len(self.users) + 1)
            self.users.append(str(call.body.get("user")))
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
            try:
                if call.stream:
                    await call.begin(*call.events()[:2])
                if not await self._may_answer(peer):
                    return
            finally:
                self.in_flight -= 1
            if self.refuse:
                await call.refuse(self.refuse)
            elif call.stream:
                events = [*call.events()[2:], *call.end()]
                await call.send(*(chunk(event) for event in events), LAST_CHUNK)
            else:
                await call.send(answer(call.whole()))

    async def _may_answer(self, peer: Peer) -> bool:
        if not self.held:
            await asyncio.sleep(self.seconds * max(1.0, self.in_flight / self.capacity))
            return True
        permit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(permit)
        gone = asyncio.ensure_future(peer.gone())
        await asyncio.wait((permit, gone), return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        return permit.done()

    def let(self, count: int = 1) -> None:
        """Answer those who have waited longest."""
        while count and self._waiting:
            permit = self._waiting.popleft()
            if not permit.done():
                permit.set_result(None)
                count -= 1

    async def let_one(self) -> None:
        """Answer one, and wait until another has called."""
        called = len(self.users)
        self.let()
        await until(lambda: len(self.users) > called)

    def open(self) -> None:
        """Answer everybody from now on."""
        self.held = False
        self.let(len(self._waiting))


class Crowd:
    """``up`` and ``spare`` are the providers of the model ``m``, in this order."""

    def __init__(self, up: Crowded, spare: Crowded, gateway: RunningWorker) -> None:
        self.up = up
        self.spare = spare
        self.gateway = gateway
        self.tasks: list[asyncio.Task[Got]] = []

    def limit(self, place: int = 0) -> Limit:
        """That of a target."""
        found = self.gateway.runtime.router.routes["m"].targets[place].limit
        assert found is not None
        return found

    async def ask(self, who: str, *headers: bytes, **fields: Any) -> Got:
        """One request of an organisation, on a connection of its own."""
        loop = asyncio.get_running_loop()
        async with wire(self.gateway.address) as client:
            began = loop.time()
            body = chat(**{"user": who, **fields})
            await client.send(post("/v1/chat/completions", body, *headers, key=KEYS[who]))
            return Got(await client.answer(), loop.time() - began)

    async def come(self, who: str, count: int = 1, *headers: bytes, **fields: Any) -> list[asyncio.Task[Got]]:
        """So many requests at once, each under way or waiting when this returns."""
        before = sum(self.here(place) for place in range(len(self._targets)))
        tasks = [asyncio.create_task(self.ask(who, *headers, **fields)) for _ in range(count)]
        self.tasks += tasks

        def arrived() -> bool:
            here = sum(self.here(place) for place in range(len(self._targets)))
            return here >= before + count or any(task.done() for task in tasks)

        await until(arrived)
        return tasks

    def here(self, place: int = 0) -> int:
        """Requests that are under way at a target, or wait for it alone."""
        limit = self.limit(place)
        return limit.in_flight + (len(limit.room) if place == 0 else 0)

    @property
    def _targets(self) -> tuple[Any, ...]:
        return self.gateway.runtime.router.routes["m"].targets

    async def reasons(self) -> list[str]:
        """How each attempt of the last request ended, by the usage event."""
        return [attempt.reason for attempt in (await self.gateway.usage())[-1].attempts]


async def until(holds: Callable[[], bool], within: float = WAIT) -> None:
    """Wait until something holds of which nothing tells."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@asynccontextmanager
async def crowd(
    directory: Path,
    concurrency: Concurrency | None,
    *,
    spare: bool = False,
    hedge: Hedge | None = None,
    limits: tuple[Limited, ...] = (),
    **provider: Any,
) -> AsyncIterator[Crowd]:
    """The whole arrangement for the duration of the block; nothing may be left in it at the end. ``provider`` are
    fields of both; ``limits`` those of ``bolt``.
    """
    one, two = Crowded(), Crowded()
    async with raw_upstream(one.serve) as first, raw_upstream(two.serve) as second:
        names = ("up", "spare") if spare else ("up",)
        shared = {
            "concurrency": concurrency,
            "timeouts": Timeouts(first_token=60, stall=60),
            "retry": Retry(attempts=1),
            "breaker": Breaker(failures=1_000_000),
            **provider,
        }
        providers = [
            Provider(name=name, base_url=upstream.base_url, **shared)
            for name, upstream in zip(names, (first, second), strict=False)
        ]
        targets = tuple(Target(provider=name, model="x") for name in names)
        settings = replace(
            settings_for(*providers, models=(Model(name="m", targets=targets, hedge=hedge),)),
            server=Server(drain=5),
            plans=(Plan(name="big", weight=3.0), Plan(name="usual")),
            keys=tuple(
                Key(
                    key=key,
                    name=who,
                    organization=who,
                    plan="big" if who == "heavy" else "usual",
                    limits=limits if who == "bolt" else (),
                )
                for who, key in KEYS.items()
            ),
        )
        async with running_worker(settings, directory) as gateway:
            found = Crowd(one, two, gateway)
            yield found
            one.open()
            two.open()
            await asyncio.gather(*found.tasks, return_exceptions=True)
            if concurrency is not None:
                for place in range(len(names)):
                    limit = found.limit(place)
                    await until(lambda limit=limit: not limit.in_flight)  # type: ignore[misc]
                    assert len(limit.room) == 0
                    assert not limit.room._queue._flows, "something is kept of who is gone"
