"""Events become entries once, whole, with their sums, over both databases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import func, select

from gateway.contract.usage import Tokens
from gateway.domain.apps.service import AppService
from gateway.domain.ledger import ingest as module
from gateway.domain.ledger.ingest import Batch, Ingested, Line, Moved, ingest, marks, parse, parse_in_turns
from gateway.domain.ledger.model import LedgerEntry, OutboxMark, PoisonEntry
from gateway.domain.plans.service import PlanService
from gateway.settings.model import Settings
from gateway.sidecar.parts import plans_of
from gateway.store.engine import Store
from tests.support.accounts import MASTER, Accounts
from tests.support.usage import MS, START, attempt
from tests.unit.domain.ledger.support import SOURCE, PerToken, batch_of, enter, entries, event, sums_of


async def poisoned(store: Store) -> list[PoisonEntry]:
    async with store.reading() as session:
        return list(await session.scalars(select(PoisonEntry).order_by(PoisonEntry.position)))


async def test_an_event_becomes_an_entry_with_all_it_says(store: Store) -> None:
    given = event(
        1, user="user_1", tags={"team": "red\0"}, attempts=[attempt("timeout", None), attempt()], stream=True,
        tokens=Tokens(prompt=100, cached=40, completion=29, reasoning=9), first_token_ns=START + 20 * MS,
    )  # fmt: skip
    assert await enter(store, given) == Ingested(entries=1)
    (entry,) = await entries(store)
    assert (entry.id, entry.kind, entry.source, entry.requests) == ("req_1", "usage", "gateway", 1)
    assert (entry.organization, entry.credential, entry.user) == ("acme", "demo", "user_1")
    assert (entry.provider, entry.model, entry.requested_model) == ("fake", "fake-chat", "small")
    assert (entry.prompt_tokens, entry.cached_tokens, entry.completion_tokens, entry.reasoning_tokens) == (
        100, 40, 29, 9,
    )  # fmt: skip
    assert (entry.started_ns, entry.ended_ns, entry.first_token_ms) == (START, START + 300 * MS, 20)
    assert (entry.cost_nanos, entry.cost_parts, entry.price_id) == (158, {"input": 100, "output": 58}, "price_1")
    assert entry.tags == {"team": "red\ufffd"}
    assert entry.attempts is not None
    assert [each["reason"] for each in entry.attempts] == ["timeout", "ok"]
    assert entry.stream is True
    assert entry.estimated is False


async def test_a_shadow_is_kept_and_counts_as_nothing(store: Store) -> None:
    copy = structs.replace(attempt(), tokens=Tokens(prompt=7, completion=3), cost_nanos=13)
    await enter(store, event(1), event(2, outcome="shadow", tokens=Tokens(), cost_nanos=0, attempts=[copy]))
    shadow = next(entry for entry in await entries(store) if entry.outcome == "shadow")
    assert (shadow.requests, shadow.prompt_tokens, shadow.cost_nanos) == (0, 0, 0)
    assert shadow.attempts is not None
    assert shadow.attempts[0]["tokens"] == {"prompt": 7, "completion": 3}
    assert shadow.attempts[0]["cost_nanos"] == 13


@pytest.mark.parametrize(
    ("changes", "cost", "saved", "price"),
    [
        ({}, 158, 0, "price_1"),
        ({"outcome": "cancelled"}, 158, 0, "price_1"),
        ({"outcome": "cut"}, 158, 0, "price_1"),
        ({"outcome": "cancelled", "tokens": Tokens(), "target": "free"}, 0, 0, None),
        ({"outcome": "error", "tokens": Tokens()}, 0, 0, None),
        ({"outcome": "error", "cost_nanos": 99}, 0, 0, None),
        ({"outcome": "refused", "tokens": Tokens(), "provider": None, "target": None}, 0, 0, None),
        ({"outcome": "cached", "cost_nanos": 0}, 0, 158, None),
        ({"target": "free"}, None, 0, None),
        ({"target": "free", "cost_nanos": 7}, 7, 0, None),
        ({"target": "free", "outcome": "cached"}, 0, 0, None),
    ],
)
async def test_what_is_billed(store: Store, changes: dict[str, Any], cost: int | None, saved: int, price: str) -> None:
    await enter(store, event(1, **changes))
    (entry,) = await entries(store)
    assert (entry.cost_nanos, entry.saved_nanos, entry.price_id) == (cost, saved, price)
    sums = await sums_of(store, "usage_days")
    assert (sums["requests"], sums["cost_nanos"], sums["unpriced"]) == (1, cost or 0, int(cost is None))


async def test_a_batch_is_entered_once_by_its_position(store: Store) -> None:
    batch = batch_of([event(1), event(2)])
    await ingest(store, batch, PerToken())
    with pytest.raises(Moved) as moved:
        await ingest(store, batch, PerToken())
    assert moved.value.position == batch.end
    assert await marks(store, "node_1/") == {SOURCE: batch.end}
    assert await marks(store, "node_") == {SOURCE: batch.end}
    assert await marks(store, "node%/") == {}
    assert len(await entries(store)) == 2


async def test_an_event_is_entered_once_by_its_id(store: Store) -> None:
    await enter(store, event(1), event(1), event(2))
    again = batch_of([event(2), event(3)], source="node_2/usage-0-00000001.jsonl")
    assert await ingest(store, again, PerToken()) == Ingested(entries=1, known=1)
    assert [entry.id for entry in await entries(store)] == ["req_1", "req_2", "req_3"]
    assert (await sums_of(store, "usage_hours"))["requests"] == 3


async def test_writers_that_meet_enter_each_event_once(store: Store) -> None:
    batches = [batch_of([event(n) for n in range(40)], source=f"node_{k}/x") for k in range(3)]
    done = await asyncio.gather(*(ingest(store, batch, PerToken()) for batch in batches))
    assert sum(each.entries for each in done) == 40
    assert sum(each.poison for each in done) == 0
    assert (await sums_of(store, "usage_days"))["requests"] == 40


BAD = [
    (b"{", "truncated"),
    (b'{"id": "x"}', "missing required field"),
    (b"\xff\xfe", "JSON"),
    (b"[]", "array"),
]


@pytest.mark.parametrize(("line", "reason"), BAD)
async def test_a_line_that_is_no_event_is_set_aside(store: Store, line: bytes, reason: str) -> None:
    assert await enter(store, event(1), line, event(2)) == Ingested(entries=2, poison=1)
    (found,) = await poisoned(store)
    assert reason.lower() in found.reason.lower()
    assert found.source == SOURCE
    assert found.line == line.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tokens": Tokens(prompt=-1)}, "tokens.prompt"),
        ({"tokens": Tokens(completion=2**60)}, "tokens.completion"),
        ({"ended_ns": START - 1}, "started_ns"),
        ({"started_ns": 2**63, "ended_ns": 2**63 + 1}, "started_ns"),
        ({"id": ""}, "id"),
    ],
)
async def test_numbers_that_cannot_be_are_set_aside(store: Store, changes: dict[str, Any], reason: str) -> None:
    assert await enter(store, event(1), event(2, **changes)) == Ingested(entries=1, poison=1)
    assert reason in (await poisoned(store))[0].reason


async def test_what_the_database_refuses_is_found_among_the_others(store: Store) -> None:
    spoilt = event(4, status=2**70)
    result = await enter(store, *(event(n) for n in range(4)), spoilt, *(event(n) for n in range(5, 9)))
    assert result == Ingested(entries=8, poison=1)
    (found,) = await poisoned(store)
    assert '"req_4"' in found.line
    async with store.reading() as session:
        assert await session.scalar(select(OutboxMark.events)) == 8


async def test_an_empty_batch_moves_the_mark(store: Store) -> None:
    await ingest(store, Batch(SOURCE, 0, 17, []), PerToken())
    assert await marks(store, "") == {SOURCE: 17}


async def test_nothing_is_kept_of_a_batch_that_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("gateway.domain.ledger.rollup.add", fail)
    with pytest.raises(ZeroDivisionError):
        await enter(store, event(1), b"{")
    async with store.reading() as session:
        for table in (LedgerEntry, PoisonEntry, OutboxMark):
            assert await session.scalar(select(func.count()).select_from(table)) == 0


async def test_a_long_line_is_kept_as_far_as_it_tells(store: Store) -> None:
    await ingest(store, Batch(SOURCE, 0, 100_001, [Line(0, b"x" * 100_000, "too long")]), PerToken())
    (found,) = await poisoned(store)
    assert (len(found.line), found.reason) == (module.KEPT_TEXT, "too long")


async def test_an_entry_knows_the_app_of_its_credential(store: Store) -> None:
    accounts = Accounts(store)
    await accounts.organization("acme")
    async with accounts.begin(MASTER) as work:
        await PlanService(work).synchronise(plans_of(Settings()))
        made = await AppService(work).register("shop", organization="acme")
    await enter(store, event(1, credential=made.credential.id), event(2, credential="another"))
    assert [entry.app for entry in await entries(store)] == [made.app.app_id, None]


async def test_others_have_their_turn_while_lines_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TURN", 2)
    batch = batch_of([event(1), b"{", event(2), event(3), b"[]"])
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    rows, poison = await parse_in_turns(batch, PerToken(), 7)
    running.cancel()
    assert (rows, poison) == parse(batch, PerToken(), 7)
    assert [row["id"] for row in rows] == ["req_1", "req_2", "req_3"]
    assert turns >= 3
