"""Pages of entries: the same whatever they are read by, at any depth; and everyone sees their own alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event as sqlalchemy_event

from gateway.contract.usage import UsageEvent
from gateway.domain.actor import SYSTEM, Actor
from gateway.domain.analytics import entries as module
from gateway.domain.analytics.entries import COSTS, REPORTED
from gateway.domain.analytics.seeking import joined
from gateway.domain.analytics.service import EntryPage, Reader, total_order
from gateway.domain.ledger import repo
from gateway.domain.ledger.corrections import Meant, rerate
from gateway.domain.ledger.query import NEWEST_FIRST, Filter, Sort
from gateway.domain.ledger.retention import forget_before
from gateway.kernel.errors import GatewayError, Kind
from gateway.store.engine import Store
from tests.support.accounts import Accounts
from tests.support.usage import START
from tests.unit.domain.ledger.support import PerToken, enter, entries, event

HOUR_NS = 3_600_000_000_000
OLDEST_FIRST = (Sort("started_ns"),)
FIELDS: list[Any] = ["provider", "cost_nanos", "started_ns", "model", "id"]


def timed(number: int, hours: float, **changes: Any) -> UsageEvent:
    """An event so many hours behind the first."""
    started = START + int(hours * HOUR_NS)
    return event(number, started_ns=started, ended_ns=started + 1_000, first_token_ns=None, **changes)


# Some at the same instant, some hours with none, one with shadows alone; a model of one provider, a user who did three
# things.
EVENTS = [
    timed(1, 0), timed(2, 0, target="big"), timed(3, 0.2, user="u"), timed(4, 0.2), timed(5, 0.2, organization="other"),
    timed(6, 5, target="big"), timed(7, 30, user="u"), timed(8, 30.5, provider="p2"), timed(9, 31, outcome="error"),
    timed(10, 200, organization="other"), timed(11, 200, user="u", target="big"), timed(12, 1000, credential="c2"),
    timed(13, 500, outcome="shadow", cost_nanos=0), timed(14, 500.3, outcome="shadow", cost_nanos=0, target="big"),
]  # fmt: skip
FILTERS: list[dict[str, Any]] = [
    {}, {"organization": "acme"}, {"models": ("big",)}, {"users": ("u",)}, {"credentials": ("c2", "demo")},
    {"providers": ("fake",), "models": ("fake-chat",)}, {"organization": "other", "users": ("u",)},
    {"outcomes": ("ok",), "from_ns": START + HOUR_NS, "until_ns": START + 201 * HOUR_NS}, {"models": ("none",)},
]  # fmt: skip


async def everything(store: Store, wanted: Filter, order: tuple[Sort, ...]) -> list[str]:
    """What the pages must come to, by one plain statement."""
    async with store.reading() as session:
        return [entry.id for entry in await repo.page(session, wanted, total_order(order), 1_000)]


async def read(store: Store, wanted: Filter, **options: Any) -> EntryPage:
    async with Accounts(store).read(SYSTEM) as work:
        return await Reader(work, "usage:read").page(wanted, **options)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passing over a single entry is already far."""
    monkeypatch.setattr(module, "_NEAR", 0)


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("order", [NEWEST_FIRST, OLDEST_FIRST, (Sort("started_ns"), Sort("model", descending=True))])
async def test_pages_are_the_whole_by_cursor_and_by_offset(store: Store, order: tuple[Sort, ...]) -> None:
    await enter(store, *EVENTS)
    async with Accounts(store).begin(SYSTEM) as work:
        await rerate(work, PerToken(3, "price_2"), Meant(provider="fake", model="big"))
    for kinds in (REPORTED, COSTS):
        # Some are enough for the other database: what differs there is how a statement is run.
        for each in FILTERS if store.is_sqlite else FILTERS[2:5]:
            wanted = Filter(**each, kinds=kinds)
            whole = await everything(store, wanted, order)
            by_cursor: list[str] = []
            after = None
            while True:
                page = await read(store, wanted, order=order, limit=2, after=after)
                assert page.total == len(whole), each
                by_cursor += [shown.entry.id for shown in page.items]
                if (after := page.after) is None:
                    break
            assert by_cursor == whole, each
            offsets = range(0, len(whole) + 3, 3)
            pages = [await read(store, wanted, order=order, limit=3, offset=offset) for offset in offsets]
            assert [shown.entry.id for page in pages for shown in page.items] == whole, each


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["provider", "cost_nanos", "started_ns", "model", "id"]), min_size=1, unique=True),
    st.data(),
)
async def test_pages_are_the_whole_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, fields: list[Any], data: st.DataObject
) -> None:
    order = tuple(Sort(field, data.draw(st.booleans())) for field in fields)
    store = Store.open(None, str(tmp_path_factory.mktemp("pages")))
    try:
        await store.migrate()
        await enter(store, *EVENTS)
        whole = await everything(store, Filter(kinds=REPORTED), order)
        paged: list[str] = []
        after = None
        while True:
            page = await read(store, Filter(kinds=REPORTED), order=order, limit=5, after=after)
            paged += [shown.entry.id for shown in page.items]
            if (after := page.after) is None:
                break
    finally:
        await store.close()
    assert sorted(whole) == sorted(each.id for each in EVENTS)
    assert paged == whole


@pytest.mark.usefixtures("far")
async def test_entries_that_are_gone_are_not_passed_over(tmp_path: Path) -> None:
    store = Store.open(None, str(tmp_path))
    await store.migrate()
    await enter(store, *EVENTS)
    await forget_before(store, START + 24 * HOUR_NS)
    kept = [entry.id for entry in await entries(store)]
    found = await read(store, Filter(kinds=REPORTED), order=OLDEST_FIRST, limit=3, offset=1)
    assert (found.total, [shown.entry.id for shown in found.items]) == (len(kept), kept[1:4])
    found = await read(store, Filter(kinds=REPORTED, users=("u",)), limit=3)
    assert (found.total, [shown.entry.id for shown in found.items]) == (2, ["req_11", "req_7"])
    await forget_before(store, START + 24_000 * HOUR_NS)
    assert (await read(store, Filter(kinds=REPORTED), offset=7)).total == 0
    await store.close()


DEAREST_FIRST = (Sort("cost_nanos", descending=True),)


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize(
    ("wanted", "order", "index"),
    [
        ({"organization": "acme", "users": ("u",)}, NEWEST_FIRST, "of_organization"),
        ({"organization": "acme", "credentials": ("demo",), "providers": ("fake",)}, OLDEST_FIRST, "of_organization"),
        ({"organization": "acme", "models": ("fake-chat",)}, NEWEST_FIRST, "of_organization"),
        ({"organization": "acme"}, DEAREST_FIRST, "of_organization"),
        ({}, NEWEST_FIRST, "in_time"),
        ({}, DEAREST_FIRST, "in_time"),
    ],
)
async def test_what_is_passed_over_is_passed_over_in_an_index(
    tmp_path: Path, wanted: dict[str, Any], order: tuple[Sort, ...], index: str
) -> None:
    """No entry is read but those on the page: SQLite says so of the statement that gives them."""
    store = Store.open(None, str(tmp_path))
    await store.migrate()
    await enter(store, *EVENTS)
    asked: list[tuple[str, Any]] = []

    def noted(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT ledger_entries.number, ledger_entries.id,"):
            asked.append((statement, parameters))

    sqlalchemy_event.listen(store.engines[-1].sync_engine, "before_cursor_execute", noted)
    found = await read(store, Filter(**wanted, kinds=REPORTED), order=order, limit=2, offset=1)
    assert len(found.items) == min(2, found.total - 1)
    async with store.engine.connect() as connection:
        for statement, parameters in list(asked):
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [str(row["detail"]) for row in plan.mappings()]
            assert any(f"COVERING INDEX ix_ledger_entries_{index}" in step for step in steps), steps
            assert not any("USING INDEX" in step for step in steps), steps
    assert asked
    await store.close()


def test_stretches_that_touch_are_one() -> None:
    assert joined([]) == []
    assert joined([(4, 5), (2, 4), (0, 1)]) == [(2, 5), (0, 1)]
    assert joined([(0, 1), (1, 3), (2, 4), (6, 7)]) == [(0, 4), (6, 7)]


async def test_who_is_no_administrator_sees_their_own(store: Store) -> None:
    await enter(store, *EVENTS)
    actor = Actor(kind="user", id="user_1", organization="other", permissions=frozenset({"usage:read"}))
    async with Accounts(store).read(actor) as work:
        reader = Reader(work, "usage:read")
        found = await reader.page(Filter(kinds=REPORTED))
        assert (found.total, [shown.entry.id for shown in found.items]) == (2, ["req_10", "req_5"])
        assert (await reader.sums(Filter()))[0].requests == 2
        assert (await reader.get("req_5")).entry.id == "req_5"
        for failing, kind in (
            (reader.get("req_1"), Kind.NOT_FOUND),
            (reader.page(Filter(organization="acme")), Kind.FORBIDDEN),
            (reader.sums(Filter(organization="acme")), Kind.FORBIDDEN),
        ):
            with pytest.raises(GatewayError) as caught:
                await failing
            assert caught.value.kind is kind
