"""The store of leases against a real Redis, with a clock of our own."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.bus.lease_usage import RedisUsage
from gateway.bus.leases import RedisLeases, Tuning, counter_key
from gateway.contract.leases import MAX_AMOUNT, Call, Got, Notice, Want, Window, check_amount
from gateway.contract.policy import LimitPolicy
from gateway.contract.windows import window_bounds
from gateway.kernel.errors import GatewayError
from tests.support.lease_nodes import MINUTE, NOW, SLIDES, SLOTS, TOTAL, Nodes, ask, claim
from tests.support.redis_server import RedisServer


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


# recalls


async def heard(store: RedisLeases) -> tuple[list[Notice], asyncio.Task[None]]:
    """Listen; returns once recalls are heard."""
    notices: list[Notice] = []
    task = asyncio.create_task(store.listen(notices.append))
    await store.hearing.wait()
    return notices, task


async def until(notices: list[Notice], count: int) -> list[Notice]:
    for _ in range(6_000):
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
