"""Prices corrected late, and detail that goes: by further entries, and day by day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from gateway.contract.usage import Tokens
from gateway.domain.actor import SYSTEM
from gateway.domain.audit.model import AuditRecord
from gateway.domain.ledger.corrections import Meant, Rerated
from gateway.domain.ledger.rating import Rating
from gateway.domain.ledger.retention import forget_before, horizon
from gateway.domain.ledger.service import LedgerService
from gateway.domain.ledger.verification import verify
from gateway.store.engine import Store
from tests.support.accounts import Accounts
from tests.support.usage import START
from tests.unit.domain.ledger.support import PerToken, enter, entries, event, sums_of

DAY = 86_400_000_000_000
MEANT = Meant(provider="fake", model="fake-chat", price_id="price_1")


async def rerate(store: Store, rater: PerToken, meant: Meant = MEANT) -> Rerated:
    async with Accounts(store).begin(SYSTEM) as work:
        return await LedgerService(work, rater).rerate(meant)


async def is_whole(store: Store) -> bool:
    async with Accounts(store).read(SYSTEM) as work:
        return (await verify(work)).is_whole


async def test_a_correction_takes_back_and_enters_again(store: Store) -> None:
    await enter(store, event(1, tokens=Tokens(prompt=100, cached=7, completion=29, reasoning=3)))
    before = await sums_of(store, "usage_days")
    assert await rerate(store, PerToken(3, "price_2")) == Rerated(1, 316, False)
    first, reversal, adjustment = await entries(store)
    assert (first.id, first.kind, first.cost_nanos, first.price_id) == ("req_1", "usage", 158, "price_1")
    assert (reversal.kind, reversal.corrects, reversal.cost_nanos, reversal.requests) == ("reversal", "req_1", -158, -1)
    assert (reversal.prompt_tokens, reversal.cached_tokens, reversal.reasoning_tokens) == (-100, -7, -3)
    assert reversal.cost_parts == {"input": -100, "output": -58}
    assert (adjustment.kind, adjustment.corrects, adjustment.cost_nanos) == ("adjustment", "req_1", 474)
    assert (adjustment.price_id, adjustment.requests, adjustment.started_ns) == ("price_2", 1, START)
    assert await sums_of(store, "usage_days") == {**before, "cost_nanos": 474, "entries": 3}
    assert await sums_of(store, "usage_hours") == {**before, "cost_nanos": 474, "entries": 3}
    assert await is_whole(store)


async def test_a_correction_is_made_once_and_may_be_corrected(store: Store) -> None:
    await enter(store, event(1))
    await rerate(store, PerToken(3, "price_2"))
    assert await rerate(store, PerToken(3, "price_2")) == Rerated(0, 0, False)
    again = Meant(provider="fake", model="fake-chat", price_id="price_2")
    assert await rerate(store, PerToken(2, "price_3"), again) == Rerated(1, -158, False)
    assert (await sums_of(store, "usage_days"))["cost_nanos"] == 316
    assert [entry.kind for entry in await entries(store)].count("reversal") == 2
    async with store.reading() as session:
        actions = list(await session.scalars(select(AuditRecord.action).order_by(AuditRecord.seq)))
    assert actions == ["usage.rerated", "usage.rerated"]


async def test_what_is_meant(store: Store) -> None:
    await enter(
        store,
        event(1),
        event(2, started_ns=START + DAY, ended_ns=START + DAY),
        event(3, outcome="error"),
        event(4, target="other"),
        event(5, outcome="cached"),
    )
    later = Meant(provider="fake", model="fake-chat", from_ns=START + 1)
    assert (await rerate(store, PerToken(2, "price_2"), later)).entries == 1
    earlier = Meant(provider="fake", model="fake-chat", until_ns=START + 1)
    assert (await rerate(store, PerToken(2, "price_2"), earlier)).entries == 1
    assert (await rerate(store, PerToken(2, "price_2"), Meant(provider="fake", model="fake-chat"))).entries == 0


async def test_what_was_unpriced_gets_its_price(store: Store) -> None:
    class Known(PerToken):
        def __call__(
            self, provider: str | None, model: str, tokens: Tokens, at_ns: int, organization: str | None = None
        ) -> Rating | None:
            return super().__call__(provider, "known", tokens, at_ns)

    await enter(store, event(1, target="free"), event(2, target="free", cost_nanos=4))
    assert (await sums_of(store, "usage_days"))["unpriced"] == 1
    assert await rerate(store, Known(), Meant(provider="fake", model="free")) == Rerated(1, 158, False)
    sums = await sums_of(store, "usage_hours")
    assert (sums["unpriced"], sums["cost_nanos"], sums["requests"]) == (0, 162, 2)
    assert await is_whole(store)


async def test_detail_goes_in_chunks_and_sums_stay(store: Store) -> None:
    times = [START + number * DAY for number in range(6)]
    await enter(store, *(event(n, started_ns=at, ended_ns=at) for n, at in enumerate(times)))
    kept_from = horizon(datetime.fromtimestamp(START / 1e9, UTC) + timedelta(days=13), 10)
    assert kept_from % DAY == 0
    assert times[2] < kept_from <= times[3]
    assert [await forget_before(store, kept_from, chunk=2) for _ in range(3)] == [2, 1, 0]
    assert [entry.id for entry in await entries(store)] == ["req_3", "req_4", "req_5"]
    assert (await sums_of(store, "usage_days"))["requests"] == 6
    assert await is_whole(store)
