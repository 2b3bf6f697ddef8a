"""A second call where the first is late: when, how often, who wins, and what becomes of the loser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from gateway.contract.usage import Tokens
from gateway.dataplane.hedging import MOST_SAVED, Hedging
from gateway.dataplane.load import LEAST
from gateway.dataplane.routing import router_from
from gateway.settings.model import Hedge, Price
from tests.support.raw_upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    Peer,
    RawUpstream,
    Script,
    answer,
    chunk,
    completion,
    raw_upstream,
)
from tests.support.streams import ask, sent, stream, two, whole
from tests.support.wire import chat, post, wire
from tests.support.worker import RunningWorker, running_worker

SOON = Hedge(after=0.05, share=1.0, spend=1.0)


async def silent(peer: Peer) -> None:
    """Never answers, and sees when it is given up."""
    await peer.request()
    await peer.gone()


def late(seconds: float, *events: bytes) -> Script:
    """Answers well, but only after a while."""

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await asyncio.sleep(seconds)
            if sent(request).get("stream"):
                await peer.send(STREAM_HEAD, *map(chunk, events or whole("slow.", id="s")), LAST_CHUNK)
            else:
                await peer.send(answer(completion("slow.")))

    return script


async def quick(peer: Peer) -> None:
    """Answers well, at once."""
    while True:
        request = await peer.request()
        if sent(request).get("stream"):
            await peer.send(STREAM_HEAD, *map(chunk, whole("quick.", id="q")), LAST_CHUNK)
        else:
            await peer.send(answer(completion("quick.")))


PRICES = (
    Price(provider="up", model="x", input_per_1k=0.001, output_per_1k=0.002),
    Price(provider="spare", model="y", input_per_1k=0.001, output_per_1k=0.002),
)


@asynccontextmanager
async def pair(
    directory: Path, first: Script, second: Script, hedge: Hedge = SOON, prices: tuple[Price, ...] = ()
) -> AsyncIterator[tuple[RunningWorker, RawUpstream, RawUpstream]]:
    async with raw_upstream(first) as up, raw_upstream(second) as spare:
        settings = msgspec.structs.replace(two(up.base_url, spare.base_url, hedge=hedge), pricing=prices)
        async with running_worker(settings, directory) as gateway:
            yield gateway, up, spare


@pytest.mark.parametrize("streamed", [True, False])
async def test_the_second_answers_and_the_first_is_given_up_at_once(tmp_path: Path, streamed: bool) -> None:
    async with pair(tmp_path, silent, quick) as (gateway, up, spare):
        got = await ask(gateway, stream=streamed)
        ended = time.monotonic()
        assert got.status == 200
        assert b"quick." in got.body
        assert got.headers["x-gateway-target"] == "spare/y"
        assert got.headers["x-gateway-attempts"] == "2"
        await up.peers[0].left.wait()
        assert time.monotonic() - ended < 5.0
        made = (await gateway.usage())[0]
        lost, won = made.attempts
        assert (lost.provider, lost.reason) == ("up", "hedge_lost")
        assert (won.provider, won.reason, won.tokens) == ("spare", "ok", None)
        assert (made.provider, made.target, made.outcome) == ("spare", "y", "ok")
        assert made.tokens.completion == (1 if streamed else 2)
        assert sent(spare.requests[0])["model"] == "y"
        assert sent(up.requests[0])["model"] == "x"


async def test_what_the_loser_cost_is_told_apart(tmp_path: Path) -> None:
    async with pair(tmp_path, silent, quick, prices=PRICES) as (gateway, _, _):
        gateway.runtime.router.routes["m"].hedging.earn(10**9)  # type: ignore[union-attr]
        await ask(gateway, messages=[{"role": "user", "content": "x" * 4_000}])
        made = (await gateway.usage())[0]
        lost = made.attempts[0]
        assert lost.tokens is not None
        assert 1_000 < lost.tokens.prompt < 1_100
        assert lost.cost_nanos == lost.tokens.prompt * 1_000
        assert made.cost_nanos == 20 * 1_000 + 1 * 2_000, "the client pays for its answer alone"


async def test_the_first_may_still_win(tmp_path: Path) -> None:
    async with pair(tmp_path, late(0.15), silent) as (gateway, _, spare):
        got = await stream(gateway)
        assert got.text == "slow."
        assert got.answer.headers["x-gateway-target"] == "up/x"
        await spare.peers[0].left.wait()
        made = (await gateway.usage())[0]
        assert [(attempt.provider, attempt.reason) for attempt in made.attempts] == [
            ("spare", "hedge_lost"),
            ("up", "ok"),
        ]
        assert made.provider == "up"


async def test_one_that_is_not_late_is_called_alone(tmp_path: Path) -> None:
    async with pair(tmp_path, quick, quick, Hedge(after=5.0, share=1.0)) as (gateway, _, spare):
        assert (await stream(gateway)).text == "quick."
        assert spare.requests == []
        assert len((await gateway.usage())[0].attempts) == 1


async def test_the_delay_is_learned(tmp_path: Path) -> None:
    async with pair(tmp_path, quick, quick, Hedge(share=1.0, spend=1.0)) as (gateway, up, spare):
        route = gateway.runtime.router.routes["m"]
        for _ in range(LEAST):
            await stream(gateway)
        learned = route.targets[0].load.late
        assert 0 < learned < 5.0
        assert route.hedging is not None
        assert route.hedging.delay(route.targets[0]) == learned
        before = len(spare.requests)
        up.script = silent
        for peer in up.peers:
            peer.close()
        assert (await stream(gateway)).text == "quick."
        assert len(spare.requests) == before + 1


async def failing(peer: Peer) -> None:
    await peer.request()
    await peer.send(answer(b'{"error":{"message":"no"}}', status=b"503 Busy"))
    peer.close()


async def test_one_that_fails_leaves_the_race_to_the_other(tmp_path: Path) -> None:
    async with pair(tmp_path, late(0.3), failing) as (gateway, _, _):
        assert (await stream(gateway)).text == "slow."
        made = (await gateway.usage())[0]
        assert [attempt.reason for attempt in made.attempts] == ["status_503", "ok"]


async def test_where_both_fail_it_goes_on_as_ever(tmp_path: Path) -> None:
    async def late_failure(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.15)
        await peer.send(answer(b'{"error":{"message":"late"}}', status=b"500 Oops"))
        peer.close()

    async with pair(tmp_path, late_failure, failing) as (gateway, up, spare):
        got = await ask(gateway)
        assert got.status in (500, 503)
        made = (await gateway.usage())[0]
        assert made.outcome == "error"
        assert sorted({attempt.reason for attempt in made.attempts}) == ["status_500", "status_503"]
        assert len(made.attempts) == len(up.requests) + len(spare.requests)


async def test_one_that_fails_before_the_delay_is_no_race(tmp_path: Path) -> None:
    async with pair(tmp_path, failing, quick) as (gateway, _, spare):
        assert (await stream(gateway)).text == "quick."
        made = (await gateway.usage())[0]
        assert [attempt.reason for attempt in made.attempts] == ["status_503", "ok"]
        assert len(spare.requests) == 1


async def test_a_refusal_is_an_answer(tmp_path: Path) -> None:
    async def refusing(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b'{"error":{"message":"bad","code":"odd"}}', status=b"400 Bad"))
        peer.close()

    async with pair(tmp_path, silent, refusing) as (gateway, up, _):
        got = await ask(gateway)
        assert (got.status, got.code) == (400, "odd")
        await up.peers[0].left.wait()


async def test_the_budget_bounds_second_calls(tmp_path: Path) -> None:
    async with pair(tmp_path, late(0.1), quick, Hedge(after=0.02, share=0.25)) as (gateway, up, spare):
        for _ in range(9):
            await stream(gateway)
        assert len(up.requests) == 9
        assert len(spare.requests) == 3, "one at the start and one for each four requests"
        assert gateway.runtime.router.routes["m"].hedging.refused == 6  # type: ignore[union-attr]


def test_the_budget_is_one_of_money_too() -> None:
    hedging = Hedging(Hedge(share=1.0, spend=0.1))
    assert not hedging.take(1_000), "nothing was spent yet"
    for _ in range(10):
        hedging.earn(1_000)
    assert hedging.take(1_000)
    assert not hedging.take(1_000)
    assert hedging.take(0), "where a price is not known the number of calls alone counts"
    for _ in range(1_000):
        hedging.earn(1_000)
    assert sum(hedging.take(1_000) for _ in range(1_000)) == MOST_SAVED


async def test_a_client_that_leaves_ends_both(tmp_path: Path) -> None:
    async with pair(tmp_path, silent, silent) as (gateway, up, spare):
        async with wire(gateway.address) as client:
            await client.send(post("/v1/chat/completions", chat(stream=True)))
            await spare.until(lambda: len(spare.requests) == 1)
            client.leave(reset=True)
        await up.peers[0].left.wait()
        await spare.peers[0].left.wait()
        made = (await gateway.usage())[0]
        assert made.outcome == "cancelled"
        assert [attempt.reason for attempt in made.attempts] == ["cancelled", "cancelled"]


async def test_a_stream_that_won_and_breaks_off_goes_on(tmp_path: Path) -> None:
    async def breaking(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if sent(request)["messages"][-1]["role"] == "assistant":
                await peer.send(STREAM_HEAD, *map(chunk, whole("more.", id="q")), LAST_CHUNK)
            else:
                await peer.send(STREAM_HEAD, chunk(whole("One ", id="q")[0]), chunk(whole("One ", id="q")[1]))
                peer.close()
                return

    async with pair(tmp_path, silent, breaking) as (gateway, up, _):
        got = await stream(gateway)
        assert (got.text, got.done) == ("One more.", True)
        await up.peers[0].left.wait()
        made = (await gateway.usage())[0]
        assert [attempt.reason for attempt in made.attempts] == ["hedge_lost", "reset", "ok"]
        assert Tokens(prompt=20, completion=1) == made.attempts[-1].tokens


async def test_a_reload_keeps_the_budget_and_what_was_learned(tmp_path: Path) -> None:
    async with pair(tmp_path, late(0.1), quick, Hedge(after=0.02, share=0.1)) as (gateway, _, spare):
        for _ in range(3):
            await stream(gateway)
        assert len(spare.requests) == 1
        old = gateway.runtime
        new = router_from(old.settings, old.pools, old.router).routes["m"]
        assert new.hedging is not None
        assert (new.hedging.started, new.hedging.won, new.hedging.refused) == (1, 1, 2)
        assert not new.hedging.take(0), "there is no call to begin with a second time"
        assert new.targets[0].load is old.router.routes["m"].targets[0].load
