"""What is noticed: each thing once, over restarts and by however many sidecars, over both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import pytest
from sqlalchemy import select

from gateway.contract.usage import Tokens
from gateway.domain.alerts import repo, service
from gateway.domain.alerts.budgets import Crossed, Watched, of_settings
from gateway.domain.alerts.model import ANOMALY, FORECAST, THRESHOLD, Notice
from gateway.domain.alerts.service import HOLD, Notices
from gateway.domain.analytics.periods import to_ns
from gateway.domain.budgets.service import BudgetService
from gateway.domain.forecasts.anomalies import Anomaly
from gateway.domain.forecasts.forecast import Forecast
from gateway.settings.model import Budget, Key, Settings
from gateway.store.engine import Store
from tests.support.accounts import MASTER, START, Accounts
from tests.unit.domain.ledger.support import enter, event


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PAUSE", 0)


class Used:
    """Use of one gateway: each request with an id of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._count = 0
        self._position = 0

    async def __call__(self, *costs: int, at: datetime = START, organization: str = "acme", **more: str) -> None:
        """Requests of so many nano-dollars, a day apart, the last of them ``at``."""
        events = []
        for back, cost in enumerate(reversed(costs)):
            self._count += 1
            began = to_ns(at - timedelta(days=back))
            tokens = Tokens(prompt=cost)
            given = {"started_ns": began, "first_token_ns": None, "ended_ns": began, "tokens": tokens, **more}
            events.append(event(self._count, organization=organization, **given))
        done = await enter(self.store, *events, begin=self._position)
        assert done.entries == len(costs)
        self._position += sum(len(msgspec.json.encode(each)) + 1 for each in events)


@pytest.fixture
def used(store: Store) -> Used:
    return Used(store)


async def budget(
    accounts: Accounts, nanos: int, scope: str = "organization", id: str = "acme", of: str = "month"
) -> str:
    async with accounts.begin(MASTER) as work:
        return (await BudgetService(work).set(scope, id, nanos, of, name="Cap")).id


async def noticed(store: Store, event: str) -> list[Notice]:
    async with store.reading() as session:
        return list(await session.scalars(select(Notice).where(Notice.event == event).order_by(Notice.number)))


async def crossed(store: Store) -> list[Crossed]:
    """The thresholds that were told, in order."""
    return [msgspec.json.decode(row.data, type=Crossed) for row in await noticed(store, THRESHOLD)]


def watcher(accounts: Accounts, configured: Sequence[Watched] = ()) -> Notices:
    """A sidecar's, as it is after a start."""
    return Notices(accounts.store, lambda: configured, accounts.clock)


async def handed_on(accounts: Accounts) -> Notices:
    """Another sidecar's, a while after the one before was killed."""
    accounts.clock.advance(HOLD + 1)
    return watcher(accounts)


async def test_each_threshold_is_told_once_over_restarts(accounts: Accounts, store: Store, used: Used) -> None:
    await accounts.organization("acme")
    id = await budget(accounts, 1_000)
    first = watcher(accounts)
    await used(499)
    await first.watch()
    assert await crossed(store) == []
    await used(1)
    await first.watch()
    (half,) = await crossed(store)
    assert (half.budget.id, half.budget.name, half.threshold, half.spent) == (id, "Cap", 50, 500)
    assert (half.start, half.end) == (1_772_323_200, 1_775_001_600)  # March 2026
    await used(460)
    second = await handed_on(accounts)
    await second.watch()
    assert [(each.threshold, each.spent) for each in (await crossed(store))[1:]] == [(75, 960), (90, 960)]
    await used(40)
    await used(9_000)
    await second.watch()
    third = await handed_on(accounts)
    await third.watch()
    assert [each.threshold for each in await crossed(store)] == [50, 75, 90, 100]
    assert (first.raised, second.raised, third.raised) == ({THRESHOLD: 1}, {THRESHOLD: 3}, {})
    accounts.clock.now = START + timedelta(days=31)
    await used(500, at=accounts.clock.now)
    await third.watch()
    assert [each.threshold for each in await crossed(store)] == [50, 75, 90, 100, 50]


async def test_two_that_notice_the_same_at_once_tell_it_once(accounts: Accounts, store: Store, used: Used) -> None:
    await accounts.organization("acme")
    watched = [Watched(f"b{number}", "acme", "organization", "acme", "month", 100) for number in range(5)]
    await used(60)
    # Neither hears of the other's watch, as where the clocks of two machines differ.
    several = [watcher(accounts, watched) for _ in range(3)]
    for each in several:
        each._held_until = to_ns(START + timedelta(days=1))
    await asyncio.gather(*(each.watch() for each in several))
    assert len(await crossed(store)) == 5
    assert sum(each.raised.total() for each in several) == 5


async def test_one_watches_until_it_ends_or_is_silent(accounts: Accounts, store: Store, used: Used) -> None:
    await accounts.organization("acme")
    await budget(accounts, 100)
    first, second = watcher(accounts), watcher(accounts)
    await first.watch()
    await used(50)
    await second.watch()
    assert await crossed(store) == []
    await first.close()
    await second.watch()
    assert len(await crossed(store)) == 1
    await used(25)
    await first.watch()
    assert len(await crossed(store)) == 1
    accounts.clock.advance(HOLD + 1)
    await first.watch()
    assert len(await crossed(store)) == 2


async def test_nobody_asks_for_budgets_where_nothing_moved(
    accounts: Accounts, store: Store, used: Used, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accounts.organization("acme")
    await budget(accounts, 1_000)
    await used(10)
    notices = watcher(accounts)
    looked: list[set[str] | None] = []
    look = notices._look_at_budgets

    async def noting(only: set[str] | None, now: datetime, stopping: object) -> None:
        looked.append(only)
        await look(only, now, lambda: False)

    monkeypatch.setattr(notices, "_look_at_budgets", noting)
    for _ in range(3):
        await notices.watch()
    assert looked == [None]
    await used(10, organization="other")
    await notices.watch()
    accounts.clock.advance(1)
    await budget(accounts, 999)
    await notices.watch()
    assert looked == [None, {"other"}, None]
    # What comes late, for days that are long over, is seen within the hour.
    await used(980, at=START - timedelta(days=10))
    await notices.watch()
    assert await crossed(store) == []
    accounts.clock.advance(3_600)
    await notices.watch()
    assert [each.threshold for each in await crossed(store)] == [50, 75, 90]


async def test_budgets_of_keys_users_and_the_configuration(accounts: Accounts, store: Store, used: Used) -> None:
    await accounts.organization("acme")
    ada = await accounts.user("ada@example.com", "acme")
    await budget(accounts, 100, "user", ada.id, "day")
    await budget(accounts, 1_000, "organization", "acme", "total")
    await budget(accounts, 0, "organization", "acme", "week")
    settings = Settings(keys=(Key(key="k" * 20, name="demo", organization="acme", budget=Budget(amount=1e-7)),))
    notices = watcher(accounts, of_settings(settings))
    await notices.watch()
    assert await crossed(store) == []  # nothing is spent, of nothing too
    await used(60, user=ada.id, credential="other")
    await used(80, user="bob", credential="demo")
    await used(90, organization="other", user=ada.id, credential="demo")
    await used(400, at=START - timedelta(days=400))
    await notices.watch()
    told = {(each.budget.scope, each.budget.period, each.threshold, each.spent) for each in await crossed(store)}
    assert told == {
        ("user", "day", 50, 60),
        ("organization", "week", 100, 140),
        ("organization", "total", 50, 540),
        ("key", "month", 50, 80),
        ("key", "month", 75, 80),
    }


async def test_what_was_spent_last_in_a_period_counts_for_it(accounts: Accounts, store: Store, used: Used) -> None:
    await accounts.organization("acme")
    await budget(accounts, 100, of="day")
    notices = watcher(accounts)
    await notices.watch()
    midnight = START.replace(hour=0, minute=0, second=0) + timedelta(days=2)  # a Sunday is over
    accounts.clock.now = midnight + timedelta(seconds=3)
    await used(60, at=midnight - timedelta(seconds=1))
    await budget(accounts, 10, of="week")  # of the new week: it was not there in the last one
    await notices.watch()
    (told,) = await crossed(store)
    assert (told.start, told.end, told.spent) == (midnight.timestamp() - 86_400, midnight.timestamp(), 60)


async def test_another_amount_is_another_budget(accounts: Accounts, store: Store, used: Used) -> None:
    await accounts.organization("acme")
    await budget(accounts, 100)
    await used(100)
    notices = watcher(accounts)
    await notices.watch()
    accounts.clock.advance(1)
    await budget(accounts, 200)
    await notices.watch()
    assert [(each.budget.nanos, each.threshold) for each in await crossed(store)] == [
        *((100, threshold) for threshold in (50, 75, 90, 100)),
        (200, 50),
    ]


async def test_a_day_that_is_over_is_held_against_those_before(accounts: Accounts, store: Store, used: Used) -> None:
    yesterday = START - timedelta(days=1)
    await used(*[100, 110] * 20, 500, at=yesterday)
    await used(*[100] * 10, 9_000, at=yesterday, organization="young")
    accounts.clock.now = START.replace(hour=0, minute=14)  # yesterday is not settled
    notices = watcher(accounts)
    await notices.watch()
    assert await noticed(store, ANOMALY) == []
    accounts.clock.advance(60)
    await notices.watch()
    await (await handed_on(accounts)).watch()
    (row,) = await noticed(store, ANOMALY)
    found = msgspec.json.decode(row.data, type=Anomaly)
    assert (row.organization, found.day, found.actual, found.severity) == ("acme", yesterday.date(), 500, "high")
    # Two days that nobody watched are looked at too.
    accounts.clock.now = START + timedelta(days=3)
    await used(105, 700, at=START + timedelta(days=1))
    await (await handed_on(accounts)).watch()
    assert [msgspec.json.decode(each.data, type=Anomaly).actual for each in await noticed(store, ANOMALY)] == [500, 700]


async def test_a_forecast_is_made_once_a_day(accounts: Accounts, store: Store, used: Used) -> None:
    yesterday = START - timedelta(days=1)
    await used(*range(1_000, 1_400, 10), at=yesterday)
    await used(5, 5, at=yesterday, organization="young")
    await used(*[100] * 20, at=START - timedelta(days=60), organization="gone")
    first, second = watcher(accounts), watcher(accounts)
    await asyncio.gather(*(each.forecast_today(name) for each in (first, second, first) for name in ("acme", "young")))
    await first.watch()
    await (await handed_on(accounts)).watch()
    (row,) = await noticed(store, FORECAST)
    assert (row.organization, row.id.partition("_")[0]) == ("acme", "forecast")
    found = msgspec.json.decode(row.data, type=Forecast)
    assert (found.last, found.trend, found.predictions[0].day) == (
        yesterday.date(), "increasing", START.date() + timedelta(days=1),
    )  # fmt: skip
    assert found.predictions[0].nanos == pytest.approx(1_410, abs=5)
    accounts.clock.advance(86_400)
    await first.watch()
    assert len(await noticed(store, FORECAST)) == 2


async def test_what_is_old_goes_and_is_not_told_again(accounts: Accounts, store: Store, used: Used) -> None:
    await accounts.organization("acme")
    monthly, total = await budget(accounts, 100), await budget(accounts, 100, of="total")
    await used(50)
    notices = watcher(accounts)
    await notices.watch()
    assert {row.budget for row in await noticed(store, THRESHOLD)} == {monthly, total}
    accounts.clock.now = START + timedelta(days=200)
    await notices.watch()
    assert {row.budget for row in await noticed(store, THRESHOLD)} == {total}
    async with accounts.begin(MASTER) as work:
        await BudgetService(work).remove(total)
    await repo.forget(store, to_ns(accounts.clock.now))
    assert await noticed(store, THRESHOLD) == []
    # Numbers go on: who has been told of the last one is told of the next.
    await budget(accounts, 10, of="total")
    await notices.watch()
    assert next(row.number for row in await noticed(store, THRESHOLD)) > 2


async def test_a_failure_leaves_all_to_be_noticed(
    accounts: Accounts, store: Store, used: Used, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accounts.organization("acme")
    await budget(accounts, 100)
    notices = watcher(accounts)
    await notices.watch()
    await used(50)

    async def away(*_: object) -> None:
        raise OSError("away")

    with monkeypatch.context() as patch:
        patch.setattr(repo, "raise_once", away)
        with pytest.raises(Exception, match="away"):
            await notices.watch()
    await notices.watch()
    assert len(await crossed(store)) == 1
