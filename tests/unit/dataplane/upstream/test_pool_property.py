"""Whatever happens in whatever order, the pool counts right and loses no turn."""

from __future__ import annotations

import asyncio
from unittest import mock

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dataplane.upstream import pool as pools
from gateway.dataplane.upstream.connection import Connection
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.settings.model import Connections, Provider


class _Transport(asyncio.Transport):
    """Closes as a real one does: the protocol hears of it in a later turn of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        super().__init__()
        self._loop = loop
        self._connection = connection
        self._closing = False

    def abort(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._connection.connection_lost, None)

    def is_closing(self) -> bool:
        return self._closing


class _World:
    """A pool whose dials end when the test says so."""

    def __init__(self, most: int, queue: int) -> None:
        self.loop = asyncio.get_running_loop()
        limits = Connections(max=most, queue=queue, keep=most)
        provider = Provider(name="up", base_url="http://127.0.0.1:9", connections=limits)
        self.pool = Pool(provider, "http://127.0.0.1:9", self.loop, Resolver(self.loop))
        self.most = most
        self.dialing: list[asyncio.Future[bool]] = []
        self.waiting: list[asyncio.Task[Connection]] = []
        self.held: list[Connection] = []
        self.order: list[int] = []
        self.real: set[Connection] = set()

    async def dial(self, origin: object, factory: object, *_: object) -> Connection:
        answer: asyncio.Future[bool] = self.loop.create_future()
        self.dialing.append(answer)
        try:
            if not await answer:
                raise UpstreamError("connect", "refused")
        finally:
            self.dialing.remove(answer)
        connection = self.pool._new()
        connection.connection_made(_Transport(self.loop, connection))
        self.real.add(connection)
        return connection

    async def acquire(self) -> Connection:
        connection = await self.pool.acquire(self.loop.time() + 60)
        assert connection.alive, "a dead connection was given"
        return connection

    async def turn(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        for task in [task for task in self.waiting if task.done()]:
            self.waiting.remove(task)
            if not task.cancelled() and not isinstance(task.exception(), UpstreamError):
                self.held.append(task.result())
        self.held = [connection for connection in self.held if connection.alive]
        self.check()

    def check(self) -> None:
        pool = self.pool
        assert 0 <= pool.open_connections <= self.most
        alive = sum(connection.alive for connection in self.real)
        assert alive <= pool.open_connections
        assert pool.waiting <= len(self.waiting), "who has left still holds a place in the queue"
        if pool.waiting:
            assert not pool._idle, "a connection rests while somebody waits for one"
            assert pool.open_connections == self.most, "a slot is free while somebody waits for one"

    def step(self, what: str, which: int) -> None:
        if what == "acquire":
            self.waiting.append(self.loop.create_task(self.acquire()))
        elif what == "cancel" and self.waiting:
            self.waiting[which % len(self.waiting)].cancel()
        elif what in ("dialled", "refused") and self.dialing:
            answer = self.dialing[which % len(self.dialing)]
            if not answer.done():
                answer.set_result(what == "dialled")
        elif what in ("release", "abort", "answer and close") and self.held:
            connection = self.held.pop(which % len(self.held))
            if what == "answer and close":
                connection.transport.abort()
            if what == "abort":
                connection.abort()
            elif connection.alive:
                self.pool.release(connection)
        elif what == "peer closes" and self.real:
            living = sorted((each for each in self.real if each.alive), key=id)
            if living:
                living[which % len(living)].transport.abort()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                "acquire",
                "acquire",
                "dialled",
                "refused",
                "release",
                "answer and close",
                "abort",
                "cancel",
                "peer closes",
            )
        ),
        st.integers(0, 7),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(STEPS, st.integers(1, 3), st.integers(0, 4))
def test_no_order_of_events_leaks_a_slot_or_starves_a_waiter(
    steps: list[tuple[str, int, bool]], most: int, queue: int
) -> None:
    async def play() -> None:
        world = _World(most, queue)
        with mock.patch.object(pools, "dial", world.dial):
            for what, which, breathe in steps:
                world.step(what, which)
                if breathe:
                    await world.turn()
            await world.turn()
            # Everybody lets go: each who waits must get a turn, and nothing may be left over.
            for _ in range(4 * (len(steps) + 1)):
                if not (world.waiting or world.held or world.dialing):
                    break
                for answer in world.dialing:
                    if not answer.done():
                        answer.set_result(True)
                for connection in world.held:
                    connection.abort()
                await world.turn()
            assert not world.waiting, "somebody waits for ever"
            world.pool.close()
            await world.turn()
            assert world.pool.open_connections == 0
            assert not world.pool.active
            assert not any(connection.alive for connection in world.real)
            if world.pool._sweeper is not None:
                world.pool._sweeper.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())
