"""Listeners: who is told what, who keeps up, who is looked at again, and that nobody is asked for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest
from msgspec import Struct

from gateway.contract.policy import Change
from gateway.domain.alerts.model import ANOMALY, FORECAST, THRESHOLD, Event
from gateway.domain.alerts.repo import New, raise_once
from gateway.domain.ledger.ingest import parse
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.live import hub as module
from gateway.domain.live.hub import EVERY, Hub, Listener, Topic, listening
from gateway.kernel.errors import GatewayError
from gateway.store.engine import Store
from tests.unit.domain.ledger.support import PerToken, add, batch_of, enter, event

WAIT = 30.0


class Nothing(Struct):
    """Nothing to be said."""


class Changes:
    """Changes as a test makes them."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Change] = asyncio.Queue()

    async def __call__(self) -> AsyncGenerator[int | Change | None, None]:
        yield 0
        while True:
            yield await self.queue.get()


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
async def hub(store: Store, changes: Changes) -> AsyncGenerator[Hub, None]:
    async with Hub(store, changes, lambda _, entry: entry.id) as made:
        yield made


async def woken(listener: Listener, until: Callable[[], bool]) -> None:
    """Wait for news until there is what is waited for."""
    async with asyncio.timeout(WAIT):
        while not until():
            listener.news.clear()
            await listener.news.wait()


async def told(listener: Listener, count: int) -> list[tuple[Topic, str]]:
    """The next of what a listener is told."""
    await woken(listener, lambda: len(listener.queue) >= count)
    return [(item.topic, item.text) for item in (listener.queue.popleft() for _ in range(count))]


async def notice(store: Store, key: str, event: Event, organization: str = "acme") -> None:
    new = New(key=key, organization=organization, event=event, data=Nothing(), expires_ns=None)
    async with store.writing() as session:
        assert await raise_once(session, [new, new], 1) == [new]


async def test_each_is_told_what_they_listen_to(hub: Hub, store: Store) -> None:
    mine, all_costs, one = Topic("costs", "acme"), Topic("costs", EVERY), Topic("usage", "acme", "fake")
    with_unpriced = Topic("usage", "acme")
    async with listening(hub, "acme", ["a"]) as first, listening(hub, "acme", ["b"]) as second:
        await hub.subscribe(first, [mine, one])
        await hub.subscribe(second, [all_costs, with_unpriced])
        await enter(store, event(1, organization="acme"), event(2, organization="other"))
        assert await told(first, 2) == [(mine, "req_1"), (one, "req_1")]
        assert await told(second, 3) == [(with_unpriced, "req_1"), (all_costs, "req_1"), (all_costs, "req_2")]
        hub.unsubscribe(first, [mine])
        # What nobody knows a price of is usage, and no cost.
        unpriced = event(3, organization="acme", target="free", cost_nanos=None)
        async with store.writing() as session:
            await add(session, parse(batch_of([unpriced, event(4, organization="acme")]), PerToken(), 1)[0])
        assert await told(first, 2) == [(one, "req_3"), (one, "req_4")]
        assert await told(second, 3) == [(with_unpriced, "req_3"), (with_unpriced, "req_4"), (all_costs, "req_4")]


async def test_notices_are_told_beside_entries_and_the_ledger_is_left_alone_without_need(
    hub: Hub, store: Store
) -> None:
    alerts, forecasts, every = Topic("alerts", "acme"), Topic("forecasts", "acme"), Topic("alerts", EVERY)
    async with listening(hub, "acme", []) as first, listening(hub, "acme", []) as second:
        await hub.subscribe(first, [alerts, forecasts])
        await hub.subscribe(second, [every])
        assert (hub._notices.someone.is_set(), hub._entries.someone.is_set()) == (True, False)
        await notice(store, "1", FORECAST)
        await notice(store, "2", ANOMALY)
        await notice(store, "3", THRESHOLD, "other")
        assert [topic for topic, _ in await told(first, 2)] == [forecasts, alerts]
        assert [topic for topic, _ in await told(second, 2)] == [every, every]
        hub.unsubscribe(second, [every])
        await hub.subscribe(first, [Topic("costs", "acme")])
        hub.unsubscribe(first, [alerts, forecasts])
        assert (hub._notices.someone.is_set(), hub._entries.someone.is_set()) == (False, True)


async def test_nobody_is_told_of_what_came_while_nobody_listened(hub: Hub, store: Store) -> None:
    topic = Topic("usage", "acme")
    async with listening(hub, "acme", []) as first:
        await hub.subscribe(first, [topic])
    await enter(store, event(1, organization="acme"))
    async with listening(hub, "acme", []) as second:
        await hub.subscribe(second, [topic])
        assert len(hub) == 1
        await asyncio.sleep(2 * module.LOOK)
        assert not second.queue
    assert len(hub) == 0


async def test_who_does_not_keep_up_is_told_how_much_they_missed(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE", 3)
    async with listening(hub, "acme", []) as slow:
        await hub.subscribe(slow, [Topic("usage", "acme")])
        await enter(store, *(event(n, organization="acme") for n in range(10)))
        await woken(slow, lambda: len(slow.queue) == 3)
        assert (len(slow.queue), slow.missed, hub.missed, hub.told["usage"]) == (3, 7, 7, 3)


async def test_a_change_of_a_credential_has_it_looked_at_again(hub: Hub, changes: Changes) -> None:
    async with listening(hub, "acme", ["key_1", "org_1"]) as first, listening(hub, "acme", ["key_2"]) as second:
        assert first.doubted  # what changed between its check and now is not known
        first.doubted = second.doubted = False
        for id in ("key_3", "org_1"):
            changes.queue.put_nowait(Change(seq=1, at_ns=1, kind="credential", id=id))
        await woken(first, lambda: first.doubted)
        assert not second.doubted
        changes.queue.put_nowait(Change(seq=2, at_ns=1, kind="everything", id=""))
        await woken(second, lambda: second.doubted)


async def test_listeners_are_bounded_and_end_with_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LISTENERS", 2)
    monkeypatch.setattr(module, "EACH", 1)
    async with listening(hub, "acme", []) as only:
        with pytest.raises(GatewayError, match="Your organization has 1"):
            hub.join("acme", [])
        async with listening(hub, "other", []):
            with pytest.raises(GatewayError, match="There are 2"):
                hub.join("third", [])
        hub.close()
        assert only.over
    with pytest.raises(GatewayError, match="shutting down"):
        hub.join("acme", [])


async def test_a_database_that_was_away_is_read_on_from_where_it_was(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AGAIN", 0.01)
    read, failed = hub._entries.tail.next, asyncio.Event()

    async def away(wanted: Callable[[str], bool]) -> tuple[list[LedgerEntry], bool]:
        failed.set()
        raise OSError("away")

    async with listening(hub, "acme", []) as listener:
        await hub.subscribe(listener, [Topic("usage", "acme")])
        monkeypatch.setattr(hub._entries.tail, "next", away)
        await enter(store, event(1, organization="acme"))
        await asyncio.wait_for(failed.wait(), WAIT)
        monkeypatch.setattr(hub._entries.tail, "next", read)
        assert await told(listener, 1) == [(Topic("usage", "acme"), "req_1")]
