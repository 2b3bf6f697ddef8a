"""Old detail is deleted once an hour, as the configuration of then says."""

from __future__ import annotations

import asyncio
import functools
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import select

from gateway.domain.ledger.ingest import Batch, Line, ingest
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.rating import NoPrices
from gateway.domain.ledger.retention import forget_before
from gateway.sidecar import retention
from gateway.sidecar.retention import Retention
from gateway.store.engine import Store
from tests.support.usage import START, usage_event

NOW = datetime.fromtimestamp(START / 1e9, UTC) + timedelta(days=8)
DAY = 86_400_000_000_000


async def left(store: Store) -> list[str]:
    async with store.reading() as session:
        return list(await session.scalars(select(LedgerEntry.id).order_by(LedgerEntry.number)))


@pytest.fixture
async def filled(store: Store) -> Store:
    texts = [
        msgspec.json.encode(usage_event(id=f"req_{day}", started_ns=START + day * DAY, ended_ns=START + day * DAY + 1))
        for day in range(7)
    ]
    await ingest(store, Batch("s", 0, 7, [Line(n, text) for n, text in enumerate(texts)]), NoPrices())
    return store


async def test_what_is_older_goes(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    monkeypatch.setattr(retention, "PAUSE", 0)
    two = functools.partial(forget_before, chunk=2)
    monkeypatch.setattr(retention, "forget_before", two)
    days = [30, 3]
    keeper = Retention(filled, lambda: days[0])
    assert await keeper.once(NOW) == 0
    days.pop(0)
    assert await keeper.once(NOW) == 5
    assert await left(filled) == ["req_5", "req_6"]


async def test_it_runs_by_itself(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    done = asyncio.Event()

    async def noted(store: Store, until: int) -> int:
        gone = await forget_before(store, until)
        done.set()
        return gone

    monkeypatch.setattr(retention, "forget_before", noted)
    async with Retention(filled, lambda: 1), asyncio.timeout(40):
        await done.wait()
    assert await left(filled) == []
