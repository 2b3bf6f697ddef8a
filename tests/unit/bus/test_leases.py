"""The store of leases against a real Redis, with a clock of our own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.bus.lease_usage import RedisUsage
from gateway.bus.leases import RedisLeases, Tuning, counter_key
from gateway.contract.leases import MAX_AMOUNT, Call, Claim, Got, Notice, StoreUnavailable, Want, Window, check_amount
from gateway.contract.policy import LimitPolicy
from gateway.contract.windows import window_bounds
from gateway.kernel.errors import GatewayError
from tests.support.redis_server import RedisServer, running_redis

NOW = 1_700_000_040
KEY = LimitPolicy("key", "k1", "requests", 100, "minute").key
MINUTE = Window(KEY, NOW - NOW % 60, NOW - NOW % 60 + 60)
TOTAL = Window(LimitPolicy("organization", "acme", "cost", 1, "total", source="credit").key)
SLOTS = Window(LimitPolicy("key", "k1", "concurrency", 1).key, kind="c")
SLIDES = LimitPolicy("key", "k1", "tokens", 100, "minute", sliding=True)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


class Nodes:
    """Stores of several processes, and the clock they share."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now_ms = NOW * 1000
        self.redis: Redis = Redis.from_url(url, decode_responses=True)
        self._stores: list[RedisLeases] = []

    def node(self, name: str, **options: Any) -> RedisLeases:
        """A process of its own."""
        store = RedisLeases(self.url, name, clock=lambda: self.now_ms, **{"deadline": 10.0, **options})
        self._stores.append(store)
        return store

    async def row(self, window: Window) -> dict[str, str]:
        """What is kept of a counter."""
        row: Any = await self.redis.hgetall(counter_key(window.id))
        return dict(row)

    async def close(self) -> None:
        """Close every connection."""
        for store in self._stores:
            await store.close()
        await self.redis.aclose()


@pytest.fixture
async def nodes(server: RedisServer) -> AsyncIterator[Nodes]:
    found = Nodes(server.url)
    await found.redis.flushall()
    yield found
    await found.close()


def claim(window: Window, granted: int = 0, spent: int = 0, held: int = 0, **flags: Any) -> Claim:
    resets = window.resets_at * 1000
    length = resets - window.start * 1000 if resets else 0
    return Claim(window.id, window.kind, resets, length, window.previous_id, granted, spent, held, **flags)


async def ask(store: RedisLeases, window: Window, amount: int, ceiling: int, mine: int = 0, spent: int = 0) -> Got:
    """Want ``amount`` of one counter, exactly."""
    reply = await store.exchange(Call([claim(window, mine, spent)], [[Want(1, ceiling, amount, amount)]]))
    return reply.verdicts[0].wants[0]


async def test_grants_until_the_ceiling_and_not_one_more(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    assert await ask(a, MINUTE, 6, 10) == Got(6, 4, 0, 0)
    assert await ask(b, MINUTE, 4, 10) == Got(4, 0, 0, 6)
    assert await ask(b, MINUTE, 5, 10, mine=4) == Got(0, 0, 0, 6)
    assert (await nodes.row(MINUTE))["out"] == "10"


async def test_all_wants_of_a_group_are_granted_or_none_is(nodes: Nodes) -> None:
    a = nodes.node("a")
    call = Call([claim(MINUTE), claim(TOTAL)], [[Want(1, 10, 1, 1), Want(2, 5, 6, 6)], [Want(1, 10, 10, 10)]])
    reply = await a.exchange(call)
    assert [verdict.short for verdict in reply.verdicts] == [2, 0]
    assert reply.verdicts[0].wants == (Got(0, 10, 0, 0), Got(0, 5, 0, 0))
    assert reply.leased == (10, 0)
    assert await nodes.row(TOTAL) == {}


async def test_two_wants_of_one_counter_add_up(nodes: Nodes) -> None:
    a = nodes.node("a")
    reply = await a.exchange(Call([claim(MINUTE)], [[Want(1, 10, 6, 6), Want(1, 10, 5, 5)]]))
    assert reply.verdicts[0].short == 2
    reply = await a.exchange(Call([claim(MINUTE)], [[Want(1, 10, 6, 6), Want(1, 10, 4, 4)]]))
    assert (reply.verdicts[0].short, reply.leased) == (0, (10,))


async def test_what_is_leased_already_is_used_first(nodes: Nodes) -> None:
    a = nodes.node("a")
    await ask(a, MINUTE, 5, 10)
    assert (await ask(a, MINUTE, 8, 10, mine=5, spent=2)).granted == 5  # 3 are left of the 5
    # What one slice covers is not leased again for the requests behind it.
    groups = [[Want(1, 100, 1, 8)] for _ in range(8)]
    reply = await a.exchange(Call([claim(TOTAL)], groups))
    assert [verdict.wants[0].granted for verdict in reply.verdicts] == [8, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("free", "granted"), [(800, 50), (160, 20), (16, 2), (8, 1), (3, 1), (1, 1)])
async def test_slices_shrink_with_what_is_free(nodes: Nodes, free: int, granted: int) -> None:
    a = nodes.node("a")
    reply = await a.exchange(Call([claim(MINUTE)], [[Want(1, free, 1, 50)]]))
    assert reply.leased == (granted,)


async def test_a_lease_is_given_back_by_telling_of_a_smaller_one(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    await ask(a, MINUTE, 10, 10)
    reply = await a.exchange(Call([claim(MINUTE, 4, spent=3, held=1)]))
    assert reply.leased == (4,)
    assert await ask(b, MINUTE, 6, 10) == Got(6, 0, 3, 0)


async def test_a_claim_can_not_raise_a_lease_but_spending_does(nodes: Nodes) -> None:
    a = nodes.node("a")
    await ask(a, MINUTE, 3, 10)
    assert (await a.exchange(Call([claim(MINUTE, 9)]))).leased == (3,)
    assert (await a.exchange(Call([claim(MINUTE, 3, spent=5, held=2)]))).leased == (7,)
    assert (await ask(nodes.node("b"), MINUTE, 4, 10)).granted == 0
    assert (await ask(nodes.node("c"), MINUTE, 3, 10)).granted == 3


async def test_a_repeated_claim_changes_nothing(nodes: Nodes) -> None:
    a = nodes.node("a")
    await ask(a, MINUTE, 8, 10)
    for _ in range(3):
        await a.exchange(Call([claim(MINUTE, 6, spent=2, held=1)]))
    row = await nodes.row(MINUTE)
    assert (row["out"], row["used"], row["held"]) == ("6", "2", "1")


async def test_a_grant_that_was_never_heard_of_comes_back_with_the_next_call(nodes: Nodes) -> None:
    a = nodes.node("a")
    await ask(a, MINUTE, 8, 10)
    assert (await ask(a, MINUTE, 10, 10, mine=0)).granted == 10


async def test_an_account_is_closed_once_and_its_spending_stays(nodes: Nodes) -> None:
    a = nodes.node("a")
    await ask(a, MINUTE, 8, 10)
    await a.exchange(Call([claim(MINUTE, 5, spent=5)]))
    for _ in range(2):
        await a.exchange(Call([claim(MINUTE, 5, spent=5, close=True)]))
    assert await ask(a, MINUTE, 6, 10) == Got(0, 5, 5, 0)
    assert await ask(a, MINUTE, 5, 10) == Got(5, 0, 5, 0)


async def test_slots_go_when_the_last_is_given_back(nodes: Nodes) -> None:
    a = nodes.node("a")
    await ask(a, SLOTS, 2, 4)
    assert await nodes.redis.pttl(counter_key(SLOTS.id)) == -1
    await a.exchange(Call([claim(SLOTS, 0)]))
    assert await nodes.row(SLOTS) == {}


async def test_counts_end_with_their_window_but_totals_never(nodes: Nodes) -> None:
    a = nodes.node("a")
    slides = Window.at(SLIDES.key, NOW)
    for window in (MINUTE, TOTAL, slides):
        await ask(a, window, 1, 10)
    left = (MINUTE.resets_at - NOW) * 1000 + Tuning().grace
    assert left - 5_000 < await nodes.redis.pttl(counter_key(MINUTE.id)) <= left
    assert left + 55_000 < await nodes.redis.pttl(counter_key(slides.id)) <= left + 60_000
    assert await nodes.redis.pttl(counter_key(TOTAL.id)) == -1


async def test_a_claim_of_a_window_long_over_brings_nothing_back(nodes: Nodes) -> None:
    a = nodes.node("a")
    await a.exchange(Call([]))
    nodes.now_ms = (MINUTE.resets_at + 61) * 1000
    assert (await a.exchange(Call([claim(MINUTE, 5, spent=5)]))).leased == (5,)
    assert await nodes.row(MINUTE) == {}


# death


async def beat(nodes: Nodes, *stores: RedisLeases, seconds: int) -> None:
    for _ in range(seconds):
        nodes.now_ms += 1000
        for store in stores:
            await store.exchange(Call([]))


async def test_a_dead_nodes_leases_and_slots_return_and_its_spending_stays(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    await a.exchange(Call([claim(TOTAL), claim(SLOTS)], [[Want(1, 10, 10, 10), Want(2, 3, 3, 3)]]))
    await a.exchange(Call([claim(TOTAL, 10, spent=4, held=2), claim(SLOTS, 3, held=3)]))
    await beat(nodes, b, seconds=4)
    assert (await ask(b, TOTAL, 1, 10)).granted == 0
    await beat(nodes, b, seconds=2)
    assert await ask(b, TOTAL, 6, 10) == Got(6, 0, 4, 0)
    assert (await ask(b, SLOTS, 3, 3)).granted == 3
    assert await nodes.redis.zrange("{gateway}:nodes", 0, -1) == ["b"]


async def test_nobody_is_dead_while_redis_was_away_for_all(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    await ask(a, TOTAL, 10, 10)
    await b.exchange(Call([]))
    nodes.now_ms += 60_000
    assert (await ask(b, TOTAL, 1, 10)).granted == 0  # b is the first to come back, and a only as late as b was
    assert not (await a.exchange(Call([claim(TOTAL, 10)]))).forgotten
    await beat(nodes, a, b, seconds=8)
    assert (await ask(b, TOTAL, 1, 10)).granted == 0


async def test_a_node_that_was_taken_for_dead_goes_on_from_what_it_had_told(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    await ask(a, TOTAL, 10, 100)
    await a.exchange(Call([claim(TOTAL, 10, spent=4)]))
    await beat(nodes, b, seconds=6)
    assert (await nodes.row(TOTAL))["out"] == "4"
    assert (await a.exchange(Call([claim(TOTAL, 10, spent=6)]))).forgotten
    reply = await a.exchange(Call([claim(TOTAL, 6, spent=6, again=True, known=6)]))
    assert (reply.forgotten, reply.leased) == (False, (6,))
    row = await nodes.row(TOTAL)
    assert (row["out"], row["used"]) == ("6", "6")
    assert (await ask(a, TOTAL, 7, 100, mine=6, spent=6)).granted == 7  # lent at once: Redis lost nothing


async def test_a_successor_settles_what_was_not_told(nodes: Nodes) -> None:
    a, b = nodes.node("run1.0"), nodes.node("run2.0")
    await a.exchange(Call([claim(TOTAL), claim(MINUTE)], [[Want(1, 50, 50, 50), Want(2, 50, 50, 50)]]))
    await a.exchange(Call([claim(TOTAL, 50, spent=4), claim(MINUTE, 50, spent=1)]))
    assert await b.known("run1.0") == {(TOTAL.key, 0): 4, (MINUTE.key, MINUTE.start): 1}
    for _ in range(2):
        await b.retire("run1.0", [(TOTAL, 9)])
        assert (await nodes.row(TOTAL))["out"] == "9"
    assert (await nodes.row(MINUTE))["out"] == "1"
    assert await b.known("run1.0") == {(TOTAL.key, 0): 9, (MINUTE.key, MINUTE.start): 1}


async def test_a_node_with_very_many_accounts_is_ended_in_turns(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    windows = [Window(f"key|k{number}|cost|total||||", 0) for number in range(1200)]
    for start in range(0, len(windows), 200):
        some = windows[start : start + 200]
        groups = [[Want(place, 10, 2, 2)] for place in range(1, len(some) + 1)]
        await a.exchange(Call([claim(window) for window in some], groups))
    await b.retire("a", [(windows[7], 1)])
    left: Any = await nodes.redis.keys("{gateway}:limit:*")
    assert left == [counter_key(windows[7].id)]


async def test_a_charge_counts_once(nodes: Nodes) -> None:
    a = nodes.node("a")
    assert [await a.charge(TOTAL, 7, "evt_1"), await a.charge(TOTAL, 7, "evt_1")] == [True, False]
    assert await a.charge(MINUTE, 2, "evt_2")
    assert await ask(a, TOTAL, 4, 10) == Got(0, 3, 7, 0)
    assert 0 < await nodes.redis.pttl(counter_key(MINUTE.id)) < 200_000
    nodes.now_ms += 600_000
    assert not await a.charge(MINUTE, 2, "evt_3")
    with pytest.raises(ValueError, match="0 or more"):
        await a.charge(TOTAL, -1, "evt_4")


async def test_leaving_gives_everything_back(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    await ask(a, TOTAL, 10, 10)
    await a.exchange(Call([claim(TOTAL, 10, spent=3)]))
    await a.exchange(Call([], leave=True))
    assert await ask(b, TOTAL, 7, 10) == Got(7, 0, 3, 0)
    assert await nodes.redis.keys("*:a") == []


# memory


async def test_nothing_is_lent_after_redis_lost_its_memory_until_all_could_tell(nodes: Nodes) -> None:
    a, b, fresh = nodes.node("a"), nodes.node("b"), nodes.node("c")
    await ask(a, TOTAL, 50, 100)
    await ask(b, TOTAL, 30, 100)
    await a.exchange(Call([claim(TOTAL, 50, spent=40)]))
    await b.exchange(Call([claim(TOTAL, 30, spent=20)]))
    await nodes.redis.flushall()
    assert (await a.exchange(Call([claim(TOTAL, 50, spent=40)]))).forgotten
    assert (await fresh.exchange(Call([claim(TOTAL)], [[Want(1, 100, 1, 1)]]))).verdicts[0].short == -1
    await a.exchange(Call([claim(TOTAL, 40, spent=40, again=True, known=60)]))
    nodes.now_ms += 1000
    assert (await b.exchange(Call([]))).forgotten
    await b.exchange(Call([claim(TOTAL, 20, spent=20, again=True, known=50)]))
    nodes.now_ms += 600
    assert await ask(fresh, TOTAL, 41, 100) == Got(0, 40, 60, 0)
    assert await ask(fresh, TOTAL, 40, 100) == Got(40, 0, 60, 0)


@pytest.mark.parametrize("late", [0, 5_000])
@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_what_dead_nodes_had_spent_is_remembered_by_those_who_live(nodes: Nodes, order: str, late: int) -> None:
    spent, known = {"a": 3, "b": 7}, {"a": 15, "b": 13}  # 5 more were spent by others, of whom b last heard earlier
    stores = {name: nodes.node(name) for name in order}
    for store in stores.values():
        await store.exchange(Call([]))
    await nodes.redis.flushall()
    for name in order:
        assert (await stores[name].exchange(Call([]))).forgotten
        await stores[name].exchange(Call([claim(TOTAL, spent[name], spent=spent[name], again=True, known=known[name])]))
        nodes.now_ms += late
    row = await nodes.row(TOTAL)
    assert (row["used"], row["out"]) == ("15", "15")


async def test_a_snapshot_put_back_is_noticed(nodes: Nodes) -> None:
    a = nodes.node("a")
    await ask(a, TOTAL, 10, 100)
    raw: Redis = Redis.from_url(nodes.url)
    old: Any = await raw.dump("{gateway}:node:a")
    await a.exchange(Call([claim(TOTAL, 10, spent=9)]))
    await raw.restore("{gateway}:node:a", 0, old, replace=True)
    await raw.aclose()
    assert (await a.exchange(Call([]))).forgotten


async def test_a_call_that_was_overtaken_does_nothing(nodes: Nodes) -> None:
    late, a = nodes.node("a"), nodes.node("a")
    for _ in range(2):
        await a.exchange(Call([]))
    with pytest.raises(StoreUnavailable, match="overtaken"):
        await ask(late, TOTAL, 5, 10)
    assert await nodes.row(TOTAL) == {}


# recalls


async def heard(store: RedisLeases) -> tuple[list[Notice], asyncio.Task[None]]:
    """Listen; returns once recalls are heard."""
    notices: list[Notice] = []
    task = asyncio.create_task(store.listen(notices.append))
    await store.hearing.wait()
    return notices, task


async def until(notices: list[Notice], count: int) -> list[Notice]:
    for _ in range(1000):
        if len(notices) >= count:
            break
        await asyncio.sleep(0.005)
    return notices


async def test_a_refusal_recalls_what_others_do_not_need(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    notices, task = await heard(a)
    await ask(a, TOTAL, 8, 10)
    reply = await b.exchange(Call([claim(TOTAL)], [[Want(1, 10, 5, 5)]]))
    verdict = reply.verdicts[0]
    assert (verdict.short, verdict.waiting, verdict.fresh) == (1, ((TOTAL.id, "a"),), (TOTAL.id,))
    # Just after, it is not asked for again.
    nodes.now_ms += 9
    again = (await b.exchange(Call([claim(TOTAL)], [[Want(1, 10, 5, 5)]]))).verdicts[0]
    assert (again.waiting, again.fresh) == (((TOTAL.id, "a"),), ())
    reply = await a.exchange(Call([claim(TOTAL, 2, spent=1, held=1, answer=True)], since_ms=NOW * 1000))
    assert reply.recalled == (TOTAL.id,)
    assert await until(notices, 2) == [Notice("recall", "b", (TOTAL.id,)), Notice("told", "a", (TOTAL.id,))]
    # While it is scarce nobody leases ahead.
    assert (await b.exchange(Call([claim(TOTAL)], [[Want(1, 10, 5, 8)]]))).leased == (5,)
    task.cancel()


async def test_nothing_is_recalled_in_vain(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    await ask(a, TOTAL, 8, 10)
    await a.exchange(Call([claim(TOTAL, 8, spent=6)]))
    verdict = (await b.exchange(Call([claim(TOTAL)], [[Want(1, 10, 5, 5)]]))).verdicts[0]
    assert (verdict.short, verdict.waiting) == (1, ())


async def test_what_strangers_publish_is_ignored(nodes: Nodes) -> None:
    a = nodes.node("a")
    notices, task = await heard(a)
    for message in ("", "[]", "{", "[1]", '{"a": 1}', '["b", "c"]'):
        await nodes.redis.publish("gateway:told", message)
    assert await until(notices, 1) == [Notice("told", "b", ("c",))]
    task.cancel()


# sliding windows


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(before=st.integers(0, 100), share=st.integers(0, 59_999), mine=st.integers(0, 100), ceiling=st.integers(1, 100))
async def test_a_sliding_window_fades(server: RedisServer, before: int, share: int, mine: int, ceiling: int) -> None:
    nodes = Nodes(server.url)
    await nodes.redis.flushall()
    a = nodes.node("a")
    now = Window.at(SLIDES.key, NOW)
    last = Window.at(SLIDES.key, NOW - 60)
    nodes.now_ms = last.start * 1000
    await a.exchange(Call([claim(last, before, spent=before)]))
    nodes.now_ms = now.start * 1000 + share
    # As `limits` weighs it, rounded up: https://limits.readthedocs.io (sliding window counter).
    faded = -(-before * (60_000 - share) // 60_000)
    fits = faded + mine <= ceiling
    got = await ask(a, now, mine, ceiling) if mine else Got(0, max(0, ceiling - faded), 0, 0)
    assert got.granted == (mine if fits else 0)
    assert got.free == max(0, ceiling - faded - got.granted)
    await nodes.close()


# reading


async def test_use_is_read_by_key(nodes: Nodes) -> None:
    a = nodes.node("a")
    usage = RedisUsage(nodes.url)
    slides, before = Window.at(SLIDES.key, NOW), Window.at(SLIDES.key, NOW - 60)
    windows = (MINUTE, TOTAL, SLOTS, before, slides)
    await a.exchange(Call([claim(window, 30, spent=0 if window.kind == "c" else 30, held=3) for window in windows]))
    now = slides.start + 30.0
    found = await usage.used([MINUTE.key, TOTAL.key, SLOTS.key, slides.key, "user|u|cost|month|||budget"], now)
    assert found == {MINUTE.key: 30, TOTAL.key: 30, SLOTS.key: 3, slides.key: 45, "user|u|cost|month|||budget": 0}
    assert await usage.used([MINUTE.key], now + 60) == {MINUTE.key: 0}
    with pytest.raises(ValueError, match="not the key of a limit"):
        await usage.used(["nonsense"], now)
    await usage.close()


def test_windows_are_those_of_both_planes() -> None:
    sliding = LimitPolicy("key", "k", "cost", 1, "month", sliding=True)
    march = 1_710_000_000.0
    start, end = window_bounds("month", march)
    found = Window.at(sliding.key, march)
    assert (found.start, found.resets_at, found.kind) == (start, end, "s")
    assert found.previous == window_bounds("month", start - 1)[0]
    assert Window.at(TOTAL.key, march) == TOTAL
    assert Window.at(SLOTS.key, march) == SLOTS


# numbers


async def test_the_largest_amounts_are_exact(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    assert (await ask(a, TOTAL, MAX_AMOUNT - 3, MAX_AMOUNT)).free == 3
    await a.exchange(Call([claim(TOTAL, MAX_AMOUNT - 3, spent=MAX_AMOUNT - 4, held=1)]))
    assert await ask(b, TOTAL, 4, MAX_AMOUNT) == Got(0, 3, MAX_AMOUNT - 4, 0)
    assert await ask(b, TOTAL, 3, MAX_AMOUNT) == Got(3, 0, MAX_AMOUNT - 4, 0)
    row = await nodes.row(TOTAL)
    assert (row["out"], row["used"]) == (str(MAX_AMOUNT), str(MAX_AMOUNT - 4))


def test_larger_limits_are_refused() -> None:
    check_amount(MAX_AMOUNT)
    with pytest.raises(GatewayError, match="9,007,199 dollars") as error:
        check_amount(MAX_AMOUNT + 1, "amount")
    assert (error.value.code, error.value.field) == ("limit_too_large", "amount")


# failures


async def test_a_redis_that_hangs_costs_the_deadline_and_comes_back(nodes: Nodes) -> None:
    a = nodes.node("a", deadline=0.1)
    await ask(a, TOTAL, 1, 10)
    info: Any = await nodes.redis.info("server")
    os.kill(int(info["process_id"]), signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await ask(a, TOTAL, 5, 10, mine=1)
        assert 0.09 < time.monotonic() - begun < 2.0
    finally:
        os.kill(int(info["process_id"]), signal.SIGCONT)
    for _ in range(100):
        # The call that hung may be carried out late; what it was lent is not counted twice.
        with contextlib.suppress(StoreUnavailable):
            assert await ask(a, TOTAL, 9, 10, mine=1, spent=1) == Got(9, 0, 1, 0)
            break
    else:
        raise AssertionError("Redis did not come back")


async def test_a_closed_connection_and_lost_scripts_are_no_failure(nodes: Nodes) -> None:
    a = nodes.node("a")
    await ask(a, TOTAL, 1, 10)
    await nodes.redis.script_flush()
    clients: Any = await nodes.redis.client_list()
    mine = await nodes.redis.client_id()
    for client in clients:
        if int(client["id"]) != mine:
            await nodes.redis.client_kill_filter(_id=client["id"])
    assert (await ask(a, TOTAL, 2, 10, mine=1, spent=1)).granted == 2


async def test_no_redis_at_all(tmp_path: Any) -> None:
    store = RedisLeases(f"unix://{tmp_path}/none.sock", "a")
    usage = RedisUsage(f"unix://{tmp_path}/none.sock")
    for work in (store.exchange(Call([])), store.charge(TOTAL, 1, "x"), store.known("b"), usage.used([TOTAL.key], NOW)):
        with pytest.raises(StoreUnavailable):
            await work
    await store.close()
    await usage.close()
