"""Every table of sums holds what the entries add up to, whatever came in by whichever way; verifying finds what not."""

from __future__ import annotations

import asyncio
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from gateway.contract.usage import Tokens
from gateway.domain.actor import SYSTEM
from gateway.domain.ledger.corrections import Meant, rerate
from gateway.domain.ledger.entering import blank, enter
from gateway.domain.ledger.ingest import row_of
from gateway.domain.ledger.levels import DAY, EVERY, HOUR, LEVELS, SIZES, SUMS, TABLES, WEEK, beginning, level_for
from gateway.domain.ledger.query import NewUsage
from gateway.domain.ledger.service import LedgerService
from gateway.domain.ledger.verification import Verified, verify
from gateway.store.engine import Store
from tests.support.accounts import Accounts
from tests.support.usage import START
from tests.unit.domain.ledger import support
from tests.unit.domain.ledger.support import PerToken, event, sums_of

HOUR_NS = HOUR * 1_000_000_000


async def filled(store: Store) -> None:
    """Requests with and without tags, reported usage, an activity, and a correction."""
    long = "x" * 500
    await support.enter(
        store,
        event(1, tags={"team": "red", "project": "shop", "flag": ""}),
        event(2, tags={"team": "red"}, organization="other", user="user_1", stream=True),
        event(3, outcome="error", tokens=Tokens(), started_ns=START + HOUR_NS, ended_ns=START + HOUR_NS),
        event(4, target="free", started_ns=START + 30 * HOUR_NS, ended_ns=START + 31 * HOUR_NS),
        event(5, tags={"team": long, "Project": "shop"}, credential="other", first_token_ns=None),
    )
    reported = NewUsage(organization="acme", provider="p", model="m", started_ns=START, tags={"team": "blue"})
    async with Accounts(store).begin(SYSTEM) as work:
        await LedgerService(work, PerToken()).record([reported])
        await enter(work.session, [blank() | activity()])
    async with Accounts(store).begin(SYSTEM) as work:
        await rerate(work, PerToken(3, "price_2"), Meant(provider="fake", model="fake-chat"))


def activity() -> dict[str, Any]:
    """Something that is no request."""
    numbers = ("requests", "prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens",
               "reasoning_tokens", "saved_nanos", "cost_nanos", "first_token_ms")  # fmt: skip
    return dict.fromkeys(numbers, 0) | {
        "id": "activity_1", "kind": "activity", "source": "api", "organization": "acme", "model": "",
        "requested_model": "", "started_ns": START, "ended_ns": START, "recorded_ns": START, "outcome": "ok",
        "estimated": False, "stream": False, "metadata": {"event_type": "login\0"},
    }  # fmt: skip


async def verified(store: Store) -> Verified:
    async with Accounts(store).read(SYSTEM) as work:
        return await verify(work)


async def test_all_tables_hold_what_the_entries_add_up_to(store: Store) -> None:
    await filled(store)
    found = await verified(store)
    assert found.is_whole, found.faults
    every = await sums_of(store, "usage_days")
    assert (every["requests"], every["entries"]) == (6, 12)
    for level, size in TABLES:
        sums = await sums_of(store, level.table_name(size))
        # Event 1 has three tags, event 5 two; each was corrected by two entries.
        extra = 2 * 1 + 1 if "tag" in level.keys else 0
        assert sums["requests"] == every["requests"] + extra, level
        assert sums["entries"] == every["entries"] + 3 * extra, level


@pytest.mark.parametrize("change", ["UPDATE {} SET requests = requests + 1", "DELETE FROM {}"])
async def test_what_differs_is_found_in_any_table(tmp_path: Path, change: str) -> None:
    store = Store.open(None, str(tmp_path))
    await store.migrate()
    await filled(store)
    works = Accounts(store)
    for level, size in TABLES:
        name = level.table_name(size)
        async with works.begin(SYSTEM) as work:
            await work.session.execute(text(f"CREATE TEMP TABLE kept AS SELECT * FROM {name}"))
            await work.session.execute(text(change.format(name)))
            found = await verify(work)
            assert {fault.kind for fault in found.faults} == {"sums_differ"}
            assert {fault.where.rpartition(" in ")[2] for fault in found.faults} == {name}
            await work.session.execute(text(f"DELETE FROM {name}"))
            await work.session.execute(text(f"INSERT INTO {name} SELECT * FROM kept"))
            await work.session.execute(text("DROP TABLE kept"))
    assert (await verified(store)).is_whole
    await store.close()


async def test_transactions_that_add_several_times_do_not_block_each_other(store: Store) -> None:
    """Both add to the sums of two models, in opposite orders: without turns each would wait for the other's end."""
    rows = [row_of(event(number, target=f"m{number % 2}"), PerToken(), 1) for number in range(4)]
    began = asyncio.Event()

    async def first() -> None:
        async with store.writing() as session:
            await enter(session, [rows[0]])
            began.set()
            # The other has come as far as it can: it waits for its turn, or has begun to.
            for _ in range(200):
                await session.execute(text("SELECT 1"))
            await enter(session, [rows[1]])

    async def second() -> None:
        await began.wait()
        async with store.writing() as session:
            await enter(session, [rows[3]])
            await enter(session, [rows[2]])

    await asyncio.gather(first(), second())
    assert (await sums_of(store, "usage_days_by_model"))["requests"] == 4


async def test_numbers_that_nothing_of_a_batch_has_stay_as_they_were(store: Store) -> None:
    """Neither told nor added: not even where some of a batch take back from one tag what others give to another."""
    first = event(1, tokens=Tokens(prompt=5, completion=4, reasoning=3))
    await support.enter(store, first)
    behind = support.batch_of([first]).end
    await support.enter(store, event(2, tokens=Tokens(prompt=5, cached=2), estimated=True), begin=behind)
    found = await sums_of(store, "usage_days_by_model")
    assert (found["requests"], found["reasoning_tokens"], found["cached_tokens"], found["estimated"]) == (2, 3, 2, 1)
    rows = [
        row_of(event(3 + way, tags={"team": f"t{way}"}), PerToken(), 1) | {"saved_nanos": 7 - 14 * way}
        for way in (0, 1)
    ]
    async with store.writing() as session:
        await enter(session, rows)
        tagged = await session.execute(text("SELECT tag, saved_nanos FROM usage_days_by_tag ORDER BY tag"))
        assert [tuple(row) for row in tagged] == [("", 0), ("team:t0", 7), ("team:t1", -7)]
    assert (await verified(store)).is_whole


def test_the_level_with_the_fewest_rows_is_taken() -> None:
    asked = ((), ("provider",), ("model", "outcome"), ("organization",), ("credential",), ("user", "model"), ("tag",))
    for names, organization in product(asked, (None, "acme")):
        found = level_for(names, organization)
        assert found is not None
        assert found.knows(names)
    assert level_for(("tag", "user"), None) is None
    assert level_for((), None) != EVERY
    assert level_for((), "acme") != EVERY
    assert level_for(("credential", "model"), None) == EVERY


def test_coarser_sums_are_sums_of_finer_ones() -> None:
    assert set(SIZES) == {HOUR, DAY, WEEK}
    assert set(TABLES) == {(level, size) for level in LEVELS for size in level.sizes}
    assert all(level.sizes[:2] == (HOUR, DAY) for level in LEVELS)
    monday = 1_772_409_600  # 2026-03-02
    assert [beginning(monday + seconds, WEEK) for seconds in (0, WEEK - 1, WEEK, -1)] == [
        monday, monday, monday + WEEK, monday - WEEK,
    ]  # fmt: skip
    assert all([column.name for column in table.columns][-len(SUMS) :] == list(SUMS) for table in TABLES.values())
