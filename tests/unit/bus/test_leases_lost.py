"""The store of leases when processes die, and when Redis is away or has lost its memory."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.bus.lease_usage import RedisUsage
from gateway.bus.leases import RedisLeases, counter_key
from gateway.contract.leases import Call, Got, StoreUnavailable, Want, Window
from tests.support.lease_nodes import MINUTE, NOW, SLOTS, TOTAL, Nodes, ask, claim

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
        assert 0.09 < time.monotonic() - begun < 5.0
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
