"""Whatever several processes do in whatever order, the books balance: see :class:`Books`."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.bus.leases import RedisLeases, Tuning, counter_key
from gateway.contract.leases import Call, Reply, StoreUnavailable, Window
from gateway.contract.policy import LimitPolicy
from gateway.contract.windows import slid, window_bounds
from gateway.dataplane.admission.counters import Counter
from gateway.dataplane.admission.leases import LeaseOptions, Leases
from gateway.dataplane.admission.limiter import CounterSet, Grant, Shortage, settle, undo
from gateway.dataplane.admission.registry import Registry
from gateway.kernel.errors import GatewayError
from tests.support.redis_server import running_redis

T = TypeVar("T")
START = 1_700_000_003.0
REQUESTS = LimitPolicy("key", "a", "requests", 7, "10s")
SLIDING = LimitPolicy("key", "a", "tokens", 100, "10s", sliding=True)
CREDIT = LimitPolicy("organization", "o", "cost", 1_000, "total", source="credit")
SLOTS = LimitPolicy("organization", "o", "concurrency", 4)
MONTH = LimitPolicy("user", "u", "tokens", 400, "month")
SETS = ((REQUESTS, SLIDING, CREDIT, SLOTS), (CREDIT, SLOTS, MONTH))
EXPIRY = 5.0
PATIENT = LeaseOptions(beat=3600.0, recall_wait=10.0)
NO_PAUSE = Tuning(recall_every=0)  # the clock stands still while requests rush in
HASTY = LeaseOptions(beat=3600.0, recall_wait=0.0)


class Unreliable(RedisLeases):
    """A store whose calls get lost on the way there (``before``) or whose answers get lost (``after``)."""

    fault: str | None = None

    async def exchange(self, call: Call) -> Reply:
        fault, self.fault = self.fault, None
        if fault == "before":
            raise StoreUnavailable("the call was lost")
        reply = await super().exchange(call)
        if fault == "after":
            raise StoreUnavailable("the answer was lost")
        return reply


class Outsider(RedisLeases):
    """Speaks for a process that is gone."""

    async def aclose(self) -> None:
        """As ``contextlib`` wants it."""
        await self.close()


class Held:
    """An admitted request."""

    def __init__(self, grant: Grant, policies: tuple[LimitPolicy, ...], tokens: int, cost: int, now: float) -> None:
        self.grant = grant
        self.amounts = {
            window_of(policy, now): amount_of(policy, tokens, cost) for policy in policies
        }  # in the windows it was admitted in
        self.tokens = tokens
        self.cost = cost


class Process:
    """One process of the gateway, as far as limits go."""

    def __init__(self, url: str, name: str, machine: Books) -> None:
        self.store = Unreliable(url, name, tuning=NO_PAUSE, clock=lambda: round(machine.now * 1000), deadline=20.0)
        self.leases = Leases(self.store, PATIENT, lambda: machine.now)
        registry = Registry(self.leases, leased=True)
        self.sets = [CounterSet(registry.counters(policies), registry.era) for policies in SETS]
        self.task = asyncio.create_task(self.leases.run())
        self.held: list[Held] = []
        self.spent: dict[Window, int] = defaultdict(int)
        self.told: dict[Window, int] = {}
        self.late = False  # whether a request ended after its window slid away, and nobody was told yet

    async def end(self) -> None:
        """Stop as a process that is killed stops: nobody is told."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.store.close()

    @property
    def counters(self) -> set[Counter]:
        """Every counter of this process."""
        return {counter for counters in self.sets for counter in counters.all}


def window_of(policy: LimitPolicy, now: float) -> Window:
    """The window of a limit that holds ``now``."""
    return Window.starting(policy.key, policy, *window_bounds(policy.window or "total", now))


def amount_of(policy: LimitPolicy, tokens: int, cost: int) -> int:
    """What a request takes of a limit."""
    return {"tokens": tokens, "cost": cost}.get(policy.metric, 1)


class Books(RuleBasedStateMachine):
    """A model of what is truly spent and reserved, beside processes that share limits through a real Redis.

    Never over a ceiling; never refused while there was room; nothing leaked once everything is over. What a process
    spent and had not told when it was killed nobody can know before its successor tells: it is kept apart (``untold``).
    """

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.runner = asyncio.Runner()
        self.names = 0
        self.living: list[Process] = []
        self.dead: list[tuple[float, Process]] = []
        self.spent: dict[Window, int] = defaultdict(int)  # by anyone ever
        self.untold: dict[Window, int] = defaultdict(int)
        with contextlib.closing(redis.Redis.from_url(self.url)) as client:
            client.flushall()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end; the processes run meanwhile."""
        return self.runner.run(work)

    def one(self, number: int) -> Process:
        """A living process. It does not wait for dead ones to answer."""
        process = self.living[number % len(self.living)]
        process.leases.options = HASTY if self.dead else PATIENT
        return process

    # what happens

    @initialize(count=st.integers(2, 3))
    def begin(self, count: int) -> None:
        for _ in range(count):
            self.run(self._start())

    async def _start(self) -> None:
        self.names += 1
        process = Process(self.url, f"run-{self.names}", self)
        self.living.append(process)
        await process.leases.beat()
        await process.store.hearing.wait()

    @precondition(lambda self: len(self.living) < 4)
    @rule()
    def start(self) -> None:
        """Another process joins."""
        self.run(self._start())

    @rule(number=st.integers(0, 9), which=st.integers(0, 1), tokens=st.integers(0, 60), cost=st.integers(0, 300))
    def request(self, number: int, which: int, tokens: int, cost: int) -> None:
        """A request comes; whether it is admitted is known beforehand, but while a dead process still holds leases.

        What was under way when its window slid away counts as spent for the others until its process beats again.
        """
        process = self.one(number)
        fits = all(self._room(policy) >= amount_of(policy, tokens, cost) for policy in SETS[which])
        refused = self.run(self._admit(process, which, tokens, cost))
        if refused is None:
            assert fits
        elif not self.dead and not any(each.late for each in self.living):
            assert not fits, refused.message

    async def _admit(self, process: Process, which: int, tokens: int, cost: int) -> GatewayError | None:
        try:
            try:
                grant = process.sets[which].admit(tokens, cost, self.now)
            except Shortage as shortage:
                grant = await process.leases.admit(shortage)
        except GatewayError as error:
            return error
        process.held.append(Held(grant, SETS[which], tokens, cost, self.now))
        return None

    @rule(requests=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1), st.integers(0, 40)), max_size=12))
    def rush(self, requests: list[tuple[int, int, int]]) -> None:
        """Many requests at once, some of whose clients leave while they wait."""
        self.run(self._rush(requests))

    async def _rush(self, requests: list[tuple[int, int, int]]) -> None:
        tasks = [
            asyncio.create_task(self._admit(self.one(number), which, amount, 5 * amount))
            for number, which, amount in requests
        ]
        await asyncio.sleep(0)
        for task in tasks[::4]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @rule(number=st.integers(0, 9), which=st.integers(0, 99), part=st.sampled_from((0, 1, 2, 4)))
    def settle(self, number: int, which: int, part: int) -> None:
        """A request is over, and used a quarter, a half, all, or nothing of what it had reserved."""
        process = self.one(number)
        if process.held:
            held = self._over(process, which)
            tokens, cost = held.tokens * part // 4, held.cost * part // 4
            settle(held.grant, tokens, cost)
            for window, amount in held.amounts.items():
                if window.kind != "c":
                    used = amount * part // 4 if "|requests|" not in window.key else amount
                    process.spent[window] += used
                    self.spent[window] += used

    @rule(number=st.integers(0, 9), which=st.integers(0, 99))
    def undo(self, number: int, which: int) -> None:
        """A request is taken back whole."""
        process = self.one(number)
        if process.held:
            undo(self._over(process, which).grant)

    def _over(self, process: Process, which: int) -> Held:
        held = process.held.pop(which % len(process.held))
        slid_away = any(window.kind == "s" and window.resets_at <= self.now for window in held.amounts)
        process.late = process.late or slid_away
        return held

    @rule(number=st.integers(0, 9))
    def beat(self, number: int) -> None:
        """A process tells what it spent and gives back what lies idle."""
        self.run(self._beat(self.one(number)))

    async def _beat(self, process: Process) -> None:
        await process.leases.beat()
        process.late = False

    @rule(seconds=st.sampled_from((0.02, 0.5, 1.0, 3.0, 11.0)))
    def wait(self, seconds: float) -> None:
        """Time passes, and every living process beats."""
        while seconds > 0:
            self.now += min(1.0, seconds)
            seconds -= 1.0
            for process in self.living:
                self.run(self._beat(process))
        self.dead = [(until, process) for until, process in self.dead if self.now < until]

    @rule(number=st.integers(0, 9), fault=st.sampled_from(("before", "after")), cost=st.integers(1, 300))
    def lose(self, number: int, fault: str, cost: int) -> None:
        """A call or its answer is lost; the process goes on within its leases, then is in touch again."""
        process = self.one(number)
        process.store.fault = fault
        self.run(self._admit(process, 1, 1, cost))
        process.store.fault = None
        self.run(self._beat(process))

    @precondition(lambda self: len(self.living) > 1)
    @rule(number=st.integers(0, 9), told=st.booleans())
    def crash(self, number: int, told: bool) -> None:
        """A process is killed: what it held comes back after a while, what it told as spent stays."""
        process = self.one(number)
        if told:
            self.run(self._beat(process))
        self._bury(process)
        self.dead.append((self.now + EXPIRY + 1.0, process))
        process.told = self.run(self._known(process))
        for window in process.spent.keys() | process.told.keys():
            self.untold[window] += process.spent[window] - process.told.get(window, 0)

    async def _known(self, process: Process) -> dict[Window, int]:
        """What the store knows it spent; of a window that slid away, what was under way counts as spent."""
        async with contextlib.aclosing(self._outsider()) as store:
            known = await store.known(process.store.node)
        policies = {policy.key: policy for policies in SETS for policy in policies}
        return {
            Window.starting(key, policies[key], *window_bounds(policies[key].window or "total", start)): spent
            for (key, start), spent in known.items()
        }

    def _outsider(self) -> Outsider:
        return Outsider(self.url, "outsider", clock=lambda: round(self.now * 1000), deadline=20.0)

    def _bury(self, process: Process) -> None:
        self.living.remove(process)
        process.held.clear()
        self.run(process.end())

    @precondition(lambda self: self.dead)
    @rule()
    def succeed(self) -> None:
        """The successor of a killed process settles for it from its usage log."""
        _, process = self.dead.pop()
        self.run(self._retire(process))
        for window, amount in process.spent.items():
            self.untold[window] -= max(0, amount - process.told.get(window, 0))

    async def _retire(self, process: Process) -> None:
        async with contextlib.aclosing(self._outsider()) as store:
            for _ in range(2):  # repeating harms nothing
                await store.retire(process.store.node, [*process.spent.items()])

    @precondition(lambda self: len(self.living) > 1)
    @rule(number=st.integers(0, 9))
    def stop(self, number: int) -> None:
        """A process ends as it should; its requests are over."""
        process = self.one(number)
        while process.held:
            self.settle(self.living.index(process), 0, 4)
        self.living.remove(process)
        self.run(self._stop(process))

    async def _stop(self, process: Process) -> None:
        process.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await process.task
        await process.leases.close()

    # what holds

    def _taken(self, window: Window) -> int:
        reserved = sum(held.amounts.get(window, 0) for process in self.living for held in process.held)
        return self.spent[window] + reserved

    def _room(self, policy: LimitPolicy) -> int:
        """What is truly free; what was lost with a crash is not known to anyone."""
        window = window_of(policy, self.now)
        taken = self._taken(window) - self.untold[window]
        if policy.sliding:
            before = Window(policy.key, window.previous, window.start, "s", window.previous * 2 - window.start)
            known = self._taken(before) - self.untold[before]
            taken = slid(taken, known, (window.start, window.resets_at), self.now)
        return policy.limit - taken

    @invariant()
    def check(self) -> None:
        """No limit is exceeded."""
        for policy in (*SETS[0], *SETS[1]):
            assert self._room(policy) >= 0, policy

    def teardown(self) -> None:
        try:
            if self.living:
                self._close_books()
        finally:
            for process in self.living:
                self.run(process.end())
            self.runner.close()

    def _close_books(self) -> None:
        self.check()
        for process in self.living:
            while process.held:
                self.settle(self.living.index(process), 0, 2)
        for _ in range(9):
            self.wait(1.0)
        with contextlib.closing(redis.Redis.from_url(self.url, decode_responses=True)) as client:
            for _ in range(60):  # those that died are buried a few at a time, by those that live
                if client.zcard("{gateway}:nodes") == len(self.living):
                    break
                self.wait(1.0)
            for policy in (CREDIT, MONTH):
                window = window_of(policy, self.now)
                row: Any = client.hgetall(counter_key(window.id))
                assert int(row.get("used", 0)) == self.spent[window] - self.untold[window]
                assert int(row.get("out", 0)) == int(row.get("used", 0))
                assert int(row.get("held", 0)) == 0
            assert client.exists(counter_key(window_of(SLOTS, self.now).id)) == 0
            names = {process.store.node for process in self.living}
            nodes: Any = client.zrange("{gateway}:nodes", 0, -1)
            assert set(nodes) == names
        for process in self.living:
            assert process.leases.unspent == 0
            assert all(counter.count.reserved == 0 for counter in process.counters)


def test_the_books_balance() -> None:
    with running_redis() as server:
        machine = type("Machine", (Books,), {"url": server.url})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
