"""More is asked for than a target can bear: who waits, who goes first, who is told at once to come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.dataplane.gauges import Gauges
from gateway.settings.model import Concurrency, Connections, Hedge, Limit
from tests.faults.resilience.crowded import KEYS, Crowd, crowd, until
from tests.faults.resilience.test_telling import timings
from tests.support.scraped import Scraped
from tests.support.wire import chat, post, wire

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def fixed(count: int, **fields: int) -> Concurrency:
    return Concurrency(min=count, max=count, **fields)


async def learn_pace(on: Crowd, seconds: float) -> None:
    """Let the limit measure that one is served every so many seconds: ten that wait for one another."""
    on.up.held = False
    on.up.seconds = seconds
    await asyncio.gather(*(on.ask("heavy") for _ in range(10)))
    on.up.users.clear()
    on.up.seconds = 0.0


@BOTH
async def test_a_target_never_gets_more_than_its_limit(tmp_path: Path, stream: bool) -> None:
    async with crowd(tmp_path, fixed(4)) as on:
        on.up.held = True
        asked = [task for who in KEYS for task in await on.come(who, 25, stream=stream)]
        assert (on.up.in_flight, on.limit().in_flight, len(on.limit().room)) == (4, 4, 71)
        on.up.open()
        assert all(got.is_whole for got in await asyncio.gather(*asked))
        assert on.up.most == 4
        assert len(on.up.users) == 75
        assert on.limit().room.served == 71


@BOTH
async def test_one_that_floods_does_not_delay_another(tmp_path: Path, stream: bool) -> None:
    async with crowd(tmp_path, fixed(2)) as on:
        on.up.held = True
        await on.come("acme", 200, stream=stream)
        assert (on.up.in_flight, len(on.limit().room)) == (2, 198)
        for _ in range(10):
            await on.up.let_one()
        (small,) = await on.come("bolt", 1, stream=stream)
        await on.up.let_one()
        await on.up.let_one()
        assert "bolt" in on.up.users[-2:], "at most one turn of the other is before it"
        on.up.let(2)
        assert (await small).is_whole
        assert on.up.most == 2
        assert len(on.limit().room) > 180


async def test_turns_go_by_the_weight_of_plans(tmp_path: Path) -> None:
    async with crowd(tmp_path, fixed(1)) as on:
        on.up.held = True
        await on.come("acme")
        for _ in range(40):
            await on.come("bolt")
            await on.come("heavy")
        for _ in range(28):
            await on.up.let_one()
        served = Counter(on.up.users[1:])
        # By the time they hold it, which a busy machine makes uneven; tests of the queue itself are exact.
        assert served["heavy"] >= 16, served
        assert served["bolt"] >= 1, served


async def test_within_an_organisation_who_came_first_goes_first(tmp_path: Path) -> None:
    async with crowd(tmp_path, fixed(1)) as on:
        on.up.held = True
        for number in range(12):
            await on.come("acme", 1, user=f"{number}")
        for _ in range(11):
            await on.up.let_one()
        assert on.up.users == [f"{number}" for number in range(12)]


async def test_a_stream_holds_its_place_until_it_ends(tmp_path: Path) -> None:
    async with crowd(tmp_path, fixed(1)) as on, wire(on.gateway.address) as client:
        on.up.held = True
        await client.send(post("/v1/chat/completions", chat(stream=True), key=KEYS["acme"]))
        answer = await client.head()
        await client.piece(answer)
        (waiting,) = await on.come("bolt")
        assert (on.limit().in_flight, len(on.limit().room), len(on.up.users)) == (1, 1, 1)
        await on.up.let_one()
        await client.rest(answer)
        assert answer.complete
        on.up.let()
        assert (await waiting).is_whole


@BOTH
async def test_who_leaves_the_queue_is_gone_at_once(tmp_path: Path, stream: bool) -> None:
    async with crowd(tmp_path, fixed(1)) as on:
        on.up.held = True
        await on.come("acme")
        async with wire(on.gateway.address) as client:
            await client.send(post("/v1/chat/completions", chat(stream=stream), key=KEYS["bolt"]))
            await until(lambda: len(on.limit().room) == 1)
            client.leave()
            await until(lambda: len(on.limit().room) == 0)
        event = (await on.gateway.usage())[-1]
        assert (event.organization, event.outcome, event.attempts) == ("bolt", "cancelled", [])
        assert on.up.users == ["acme"]


@BOTH
async def test_who_leaves_a_call_makes_room(tmp_path: Path, stream: bool) -> None:
    async with crowd(tmp_path, fixed(1)) as on:
        on.up.held = True
        async with wire(on.gateway.address) as client:
            await client.send(post("/v1/chat/completions", chat(stream=stream), key=KEYS["acme"]))
            await until(lambda: on.up.in_flight == 1)
            await on.come("bolt")
            client.leave()
            await until(lambda: on.up.users[1:] == ["bolt"])


async def test_many_that_leave_and_come(tmp_path: Path) -> None:
    """Half of a crowd leaves while it waits or is served: everybody else is answered, and no place is lost."""
    async with crowd(tmp_path, fixed(3)) as on:
        on.up.held = True
        tasks = [*await on.come("acme", 40), *await on.come("bolt", 40)]
        for task in tasks[::2]:
            task.cancel()
        on.up.held = False
        on.up.seconds = 0.005
        on.up.let(1_000)
        answers = await asyncio.gather(*tasks[1::2])
        assert all(got.is_whole for got in answers)
        await until(lambda: on.limit().in_flight == 0)


# refusals


async def test_a_full_queue(tmp_path: Path) -> None:
    async with crowd(tmp_path, fixed(1, queue=5)) as on:
        on.up.held = True
        await on.come("acme", 6)
        got = await on.ask("acme")
        assert (got.status, got.code) == (503, "upstream_busy")
        assert int(got.headers["retry-after"]) >= 1
        assert await on.reasons() == ["queue_full"]
        assert on.up.users == ["acme"], "nothing was sent"


async def test_a_flood_that_fills_the_queue_makes_way(tmp_path: Path) -> None:
    async with crowd(tmp_path, fixed(1, queue=6)) as on:
        on.up.held = True
        flood = await on.come("acme", 7)
        small = asyncio.create_task(on.ask("bolt"))
        (out,), _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
        got = out.result()
        assert (got.status, got.code) == (429, "organization_share_exceeded")
        assert int(got.headers["retry-after"]) >= 1
        assert await on.reasons() == ["queue_share"]
        assert (await on.ask("acme")).status == 429
        on.up.open()
        assert (await small).is_whole
        assert Counter(got.status for got in await asyncio.gather(*flood)) == {200: 6, 429: 1}
        assert len(on.up.users) == 7


@BOTH
async def test_who_can_not_be_served_in_time_is_told_at_once(tmp_path: Path, stream: bool) -> None:
    """The one call under way will not end, and the queue's pace says that it is in vain."""
    async with crowd(tmp_path, fixed(1)) as on:
        await learn_pace(on, 0.1)
        on.up.held = True
        await on.come("acme", 400)
        got = await on.ask("acme", b"x-gateway-timeout: 20", stream=stream)
        assert (got.status, got.code) == (429, "organization_share_exceeded")
        assert got.seconds < 10, "not at its deadline"
        pace = on.limit().room.pace(asyncio.get_running_loop().time())
        assert 5 <= int(got.headers["retry-after"]) <= 401 * pace - 19, "as long as it would wait beyond its deadline"
        await until(lambda: on.limit().room.pace(asyncio.get_running_loop().time()) > 0.3)
        got = await on.ask("bolt", b"x-gateway-timeout: first_token=0.5", stream=stream)
        assert (got.status, got.code) == (503, "upstream_busy")
        assert await on.reasons() == ["queue_late"]
        assert int(got.headers["retry-after"]) >= 1
        assert on.up.users == ["acme"], "nothing of it was sent"


async def test_whose_deadline_comes_while_it_waits(tmp_path: Path) -> None:
    async with crowd(tmp_path, fixed(1)) as on:
        on.up.held = True
        await on.come("acme")
        got = await on.ask("bolt", b"x-gateway-timeout: 0.2")
        assert (got.status, got.code) == (503, "upstream_busy")
        assert await on.reasons() == ["queue_timeout"]
        assert timings(got)["queue"][0] >= 190
        assert len(on.limit().room) == 0
        assert on.limit().room.refused["queue_timeout"] == 1


# several targets


async def test_a_target_with_room_is_asked_before_anybody_waits(tmp_path: Path) -> None:
    async with crowd(tmp_path, fixed(2), spare=True) as on:
        on.up.held = on.spare.held = True
        await on.come("acme", 4)
        await until(lambda: on.spare.in_flight == 2)
        assert on.up.in_flight == 2
        assert [len(on.limit(place).room) for place in (0, 1)] == [0, 0]


@pytest.mark.parametrize("place", [0, 1])
async def test_who_waits_goes_wherever_there_is_room_first(tmp_path: Path, place: int) -> None:
    async with crowd(tmp_path, fixed(1), spare=True) as on:
        on.up.held = on.spare.held = True
        await on.come("acme", 2)
        await until(lambda: on.spare.in_flight == 1)
        (waiting,) = await on.come("bolt")
        assert [len(on.limit(each).room) for each in (0, 1)] == [1, 1]
        free = (on.up, on.spare)[place]
        await free.let_one()
        assert free.users[-1] == "bolt"
        assert [len(on.limit(each).room) for each in (0, 1)] == [0, 0]
        free.let()
        got = await waiting
        assert got.is_whole
        assert got.headers["x-gateway-target"] == ("up/x", "spare/x")[place]
        assert got.headers["x-gateway-attempts"] == "1"
        assert list(timings(got)) == ["gateway", "queue", "upstream"]


async def test_who_leaves_while_it_waits_at_several_leaves_all(tmp_path: Path) -> None:
    async with crowd(tmp_path, fixed(1), spare=True) as on:
        on.up.held = on.spare.held = True
        await on.come("acme", 2)
        tasks = await on.come("bolt", 5)
        for task in tasks:
            task.cancel()
        await until(lambda: not len(on.limit(0).room) and not len(on.limit(1).room))
        got = await on.ask("bolt", b"x-gateway-timeout: 0.1")
        assert (got.status, got.code) == (503, "upstream_busy")
        assert (await on.gateway.usage())[-1].attempts == []


async def test_a_place_that_may_not_be_used_is_given_back(tmp_path: Path) -> None:
    """The caller has used up what it may ask of the provider that has room first."""
    limits = (Limit(metric="requests", window="day", limit=1, provider="up"),)
    async with crowd(tmp_path, fixed(1), spare=True, limits=limits) as on:
        assert (await on.ask("bolt")).headers["x-gateway-target"] == "up/x"
        on.up.held = on.spare.held = True
        await on.come("acme", 2)
        (waiting,) = await on.come("bolt")
        on.up.let()
        await until(lambda: not on.limit(0).in_flight and len(on.limit(1).room) == 1)
        on.spare.let(2)
        await until(lambda: on.spare.users[-1] == "bolt")
        on.spare.let()
        assert (await waiting).headers["x-gateway-target"] == "spare/x"


async def test_many_at_two_targets(tmp_path: Path) -> None:
    async with crowd(tmp_path, fixed(3), spare=True) as on:
        on.up.held = on.spare.held = True
        asked = [task for who in KEYS for task in await on.come(who, 40)]
        assert (on.up.in_flight, on.spare.in_flight) == (3, 3)
        on.up.open()
        on.spare.open()
        assert all(got.is_whole for got in await asyncio.gather(*asked))
        assert (on.up.most, on.spare.most) == (3, 3)
        assert len(on.up.users) + len(on.spare.users) == 120
        assert min(len(on.up.users), len(on.spare.users)) > 3


async def test_a_second_call_holds_a_place_too(tmp_path: Path) -> None:
    async with crowd(tmp_path, fixed(1), spare=True, hedge=Hedge(after=0.05)) as on:
        on.up.held = on.spare.held = True
        asked = asyncio.create_task(on.ask("acme"))
        await until(lambda: on.spare.in_flight == 1)
        assert [on.limit(place).in_flight for place in (0, 1)] == [1, 1]
        on.spare.let()
        assert (await asked).headers["x-gateway-target"] == "spare/x"
        await until(lambda: not any(on.limit(place).in_flight for place in (0, 1)))
        assert on.up.in_flight == 0


async def test_no_second_call_is_made_where_it_would_have_to_wait(tmp_path: Path) -> None:
    async with crowd(tmp_path, fixed(1), spare=True, hedge=Hedge(after=0.02)) as on:
        on.up.seconds = 0.4
        assert on.limit(1).take()
        assert (await on.ask("acme")).is_whole
        assert on.spare.users == []
        on.limit(1).release(None)


async def test_a_first_call_that_waits_is_hedged_where_there_is_room(tmp_path: Path) -> None:
    async with crowd(tmp_path, fixed(1), hedge=Hedge(after=0.05), spare=True) as on:
        on.up.held = on.spare.held = True
        await on.come("acme", 2)
        await until(lambda: on.spare.in_flight == 1)
        waiting = await on.come("bolt", 3)
        on.up.open()
        on.spare.open()
        assert all(got.is_whole for got in await asyncio.gather(*waiting))
        assert (on.up.most, on.spare.most) == (1, 1)


# the limit follows


async def test_the_limit_falls_when_latency_rises_and_comes_back(tmp_path: Path) -> None:
    async with crowd(tmp_path, Concurrency(max=32, min=2)) as on:
        on.up.seconds = 0.3  # a busy machine adds a few hundredths
        stop = asyncio.Event()

        async def client(who: str) -> None:
            while not stop.is_set():
                assert (await on.ask(who)).is_whole

        clients = [asyncio.create_task(client(who)) for who in ("acme", "bolt") for _ in range(20)]
        try:
            await until(lambda: on.limit().limit == 32, 60)
            on.up.capacity = 4
            await until(lambda: on.limit().limit <= 16, 60)
            on.up.capacity = 1_000_000
            await until(lambda: on.limit().limit >= 26, 60)
        finally:
            stop.set()
            await asyncio.gather(*clients)
        assert on.up.most <= 32


@pytest.mark.parametrize("status", [b"429 Too Many Requests", b"503 Service Unavailable"])
async def test_what_the_target_says_of_it_lowers_it(tmp_path: Path, status: bytes) -> None:
    async with crowd(tmp_path, Concurrency(initial=20, min=2)) as on:
        on.up.refuse = status
        got = await on.ask("acme")
        assert got.status == int(status[:3])
        assert on.limit().limit == 14
        loop = asyncio.get_running_loop()
        await until(lambda: loop.time() > on.limit()._since + 0.01)  # the loop's clock is a coarse one
        await on.ask("acme")
        assert on.limit().limit == 9


async def test_other_refusals_do_not(tmp_path: Path) -> None:
    async with crowd(tmp_path, Concurrency(initial=20)) as on:
        for status in (b"400 Bad Request", b"500 Internal Server Error"):
            on.up.refuse = status
            await on.ask("acme")
        assert on.limit().limit == 20


async def test_a_client_in_a_hurry_does_not(tmp_path: Path) -> None:
    async with crowd(tmp_path, Concurrency(initial=20)) as on:
        on.up.held = True
        got = await on.ask("acme", b"x-gateway-timeout: first_token=0.1")
        assert got.status == 504
        assert on.limit().limit == 20


# without a limit, and what is told


async def test_who_waits_for_a_connection_has_its_turn_too(tmp_path: Path) -> None:
    """The cap on a provider's connections is shared as fairly."""
    async with crowd(tmp_path, None, connections=Connections(max=2)) as on:
        on.up.held = True
        flood = [asyncio.create_task(on.ask("acme")) for _ in range(60)]
        pool = on.gateway.runtime.pools["up"]
        await until(lambda: pool.waiting == 58)
        small = asyncio.create_task(on.ask("bolt"))
        await until(lambda: pool.waiting == 59)
        await on.up.let_one()
        await on.up.let_one()
        assert "bolt" in on.up.users[-2:]
        on.up.open()
        assert (await small).is_whole
        assert all(got.is_whole for got in await asyncio.gather(*flood))
        assert on.up.most == 2


async def test_what_is_told(tmp_path: Path) -> None:
    async with crowd(tmp_path, fixed(1, queue=1)) as on:
        Gauges(on.gateway.worker, on.gateway.sink.file, on.gateway.connections)
        on.up.held = True
        await on.come("acme")
        (waiting,) = await on.come("bolt")
        assert (await on.ask("acme")).status == 503
        async with wire(on.gateway.address) as client:
            await client.send(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
            told = Scraped(text_string_to_metric_families((await client.answer()).body.decode()))
        at = {"provider": "up", "target": "x"}
        assert told.sum("gateway_concurrency_limit", **at) == 1
        assert told.sum("gateway_concurrency_in_flight", **at) == 1
        assert told.sum("gateway_concurrency_queued", **at) == 1
        assert told.sum("gateway_concurrency_refused_total", **at) == 1
        assert told.sum("gateway_concurrency_queue_waits_total", **at) == 0
        on.up.open()
        got = await waiting
        assert list(timings(got)) == ["gateway", "queue", "upstream"]
