"""Sums are what a sum over the entries is, whatever the span, the groups and what was corrected meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise, product
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.usage import Tokens
from gateway.domain.actor import SYSTEM
from gateway.domain.ledger import totals
from gateway.domain.ledger.levels import DAY, HOUR, SUMS, WEEK, Level
from gateway.domain.ledger.query import Bucket, Dimension, Filter, NewUsage, Sums
from gateway.domain.ledger.service import LedgerService
from gateway.domain.ledger.totals import pieces
from gateway.kernel.errors import GatewayError
from gateway.store.engine import Store
from tests.support.accounts import Accounts
from tests.unit.domain.ledger.support import PerToken, enter, entries, event, sums_of

SECOND = 1_000_000_000
_Told: TypeAlias = tuple[str, int, int]
MONDAY = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp())


def at(hours: float) -> dict[str, Any]:
    started = int((MONDAY + hours * HOUR) * SECOND)
    return {"started_ns": started, "ended_ns": started + 250_000_000, "first_token_ns": started + 50_000_000}


async def filled(store: Store) -> None:
    await enter(
        store,
        event(1, **at(0)),
        event(2, **at(0.5), target="big", organization="other"),
        event(3, **at(23.99), user="user_1", outcome="error", tokens=Tokens()),
        event(4, **at(24), target="free", estimated=True),
        event(5, **at(25.5), stream=True, tokens=Tokens(prompt=10, cached=4, completion=6, reasoning=2)),
        event(6, **at(24 * 7), target="big"),
        event(7, **at(24 * 40)),
    )


async def sums(
    store: Store, wanted: Filter, by: tuple[Dimension, ...] = (), bucket: Bucket | None = None
) -> list[Sums]:
    async with store.reading() as session:
        return await totals.sums(session, wanted, by, bucket)


def plain(rows: list[Sums]) -> dict[tuple[Any, ...], tuple[int, int]]:
    return {(row.start, *row.group): (row.requests, row.cost_nanos) for row in rows}


async def test_all_of_it(store: Store) -> None:
    await filled(store)
    (found,) = await sums(store, Filter())
    assert (found.requests, found.prompt_tokens, found.completion_tokens) == (7, 510, 151)
    assert (found.cached_tokens, found.reasoning_tokens) == (4, 2)
    assert (found.cost_nanos, found.unpriced, found.estimated, found.streamed) == (4 * 158 + 22, 1, 1, 1)
    assert (found.duration_ms, found.first_token_ms, found.first_tokens) == (7 * 250, 7 * 50, 7)


async def test_by_bucket_and_group(store: Store) -> None:
    await filled(store)
    days = plain(await sums(store, Filter(organization="acme"), by=("model",), bucket="day"))
    assert days == {
        (MONDAY, "fake-chat"): (2, 158),
        (MONDAY + DAY, "fake-chat"): (1, 22),
        (MONDAY + DAY, "free"): (1, 0),
        (MONDAY + 7 * DAY, "big"): (1, 158),
        (MONDAY + 40 * DAY, "fake-chat"): (1, 158),
    }
    weeks = plain(await sums(store, Filter(), bucket="week"))
    assert weeks == {(MONDAY,): (5, 338), (MONDAY + 7 * DAY,): (1, 158), (MONDAY + 35 * DAY,): (1, 158)}
    months = plain(await sums(store, Filter(), bucket="month"))
    assert [start for (start,) in months] == [MONDAY - DAY, int(datetime(2026, 4, 1, tzinfo=UTC).timestamp())]
    hours = plain(await sums(store, Filter(until_ns=(MONDAY + DAY) * SECOND), bucket="hour"))
    assert hours == {(MONDAY,): (2, 316), (MONDAY + 23 * HOUR,): (1, 0)}


async def test_nothing_is_zero_once_and_no_groups(store: Store) -> None:
    (none,) = await sums(store, Filter(organization="nobody"))
    assert none == Sums()
    assert await sums(store, Filter(organization="nobody"), by=("model",)) == []
    assert await sums(store, Filter(organization="nobody"), bucket="day") == []


_TIMES = st.one_of(
    st.none(),
    st.integers(-2 * DAY * SECOND, 42 * DAY * SECOND),
    st.integers(-2 * 24, 42 * 24).map(lambda hours: hours * HOUR * SECOND),
)
_NS = MONDAY * SECOND


_NOW = st.one_of(st.just(0), st.integers(-2 * DAY * SECOND, 42 * DAY * SECOND).map(lambda ns: _NS + ns))


_SIZES = st.sampled_from([(HOUR, DAY), (HOUR, DAY, WEEK)])


@given(begin=_TIMES, end=_TIMES, bucket=st.sampled_from([None, "hour", "day", "week", "month"]), now=_NOW, sizes=_SIZES)
def test_the_pieces_of_a_span_are_the_span(
    begin: int | None, end: int | None, bucket: Bucket | None, now: int, sizes: tuple[int, ...]
) -> None:
    begin, end = (None if value is None else _NS + value for value in (begin, end))
    found = pieces(Filter(from_ns=begin, until_ns=end), bucket, now, sizes)
    if begin is not None and end is not None and begin >= end:
        assert found == []
        return
    added = [piece for piece in found if piece[0] != "less"]
    assert added[0][1] == begin
    for (_, _, until), (_, next_, _) in pairwise(added):
        assert until == next_
    for grain, first, last in found:
        size = {"week": WEEK, "day": DAY, "hour": HOUR, "entry": 0, "less": 0}[grain] * SECOND
        assert all((value - _NS) % size == 0 for value in (first, last) if size and value is not None)
        assert grain != "week" or (WEEK in sizes and bucket in (None, "week"))
        assert first is None or last is None or first < last
    # What is taken off is all that is added behind the end, which is less than the hour has before the end.
    taken = [piece for piece in found if piece[0] == "less"]
    assert taken == ([] if added[-1][2] == end else [("less", end, added[-1][2])])
    for _, first, last in taken:
        assert first is not None
        assert last is not None
        assert min(last, now) - first < first % (HOUR * SECOND)
    assert len(found) - sum(grain in ("week", "day", "hour") for grain, _, _ in found) <= 2


@pytest.mark.parametrize(
    ("end", "now", "expected"),
    [
        (50.5, 50.7, [("day", 0, 48), ("day", 48, 72), ("less", 50.5, 72)]),
        (50.5, 52.5, [("day", 0, 48), ("hour", 48, 50), ("entry", 50, 50.5)]),
        (50, 50.7, [("day", 0, 48), ("hour", 48, 50)]),
        (7.25, 5, [("day", 0, 24), ("less", 7.25, 24)]),
        (72, 50.5, [("day", 0, 72)]),
    ],
)
def test_a_span_that_ends_now_has_the_whole_day_less_what_came_since(
    end: float, now: float, expected: list[tuple[str, float, float]]
) -> None:
    found = pieces(Filter(from_ns=_NS, until_ns=_NS + int(end * HOUR * SECOND)), "day", _NS + int(now * HOUR * SECOND))
    told: list[_Told] = [(grain, (first or 0) - _NS, (last or 0) - _NS) for grain, first, last in found]
    wanted = [(grain, int(first * HOUR * SECOND), int(last * HOUR * SECOND)) for grain, first, last in expected]
    assert _joined_days(told) == _joined_days(wanted)


def _joined_days(found: list[_Told]) -> list[_Told]:
    """The same with days that touch as one."""
    whole: list[_Told] = []
    for grain, first, last in found:
        if whole and grain == "day" == whole[-1][0] and whole[-1][2] == first:
            whole[-1] = (grain, whole[-1][1], last)
        else:
            whole.append((grain, first, last))
    return whole


@pytest.mark.parametrize("end", [0.5, 0.7, 1.0, 1.2])
async def test_the_beginning_of_an_hour_is_the_hour_less_its_entries_behind(
    store: Store, end: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = [0.0, 0.1, 0.6, 0.65, 1.1]
    await enter(store, *(event(number, **at(hours)) for number, hours in enumerate(began)))
    read: list[str] = []
    query = totals._query

    def noted(level: Level, piece: totals.Piece, *rest: Any) -> Any:
        read.append(piece[0])
        return query(level, piece, *rest)

    monkeypatch.setattr(totals, "_query", noted)
    (found,) = await sums(store, Filter(from_ns=_at(0), until_ns=_at(end)))
    assert found.requests == sum(hours < end for hours in began)
    assert read == {0.5: ["entry"], 0.7: ["hour", "less"], 1.0: ["hour"], 1.2: ["hour", "entry"]}[end]


def _at(hours: float) -> int:
    return int((MONDAY + hours * HOUR) * SECOND)


@pytest.mark.parametrize(
    "by",
    [(), ("organization",), ("organization", "model"), ("credential",), ("credential", "user", "outcome", "provider")],
)
async def test_sums_are_those_of_the_entries(store: Store, by: tuple[Dimension, ...]) -> None:
    await filled(store)
    spans = [(0.0, 24 * 41), (0.25, 25.6), (0.4, 0.6), (23.5, 24 * 7 + 0.001)]
    filters: list[dict[str, Any]] = [{}, {"organization": "acme"}, {"providers": ("fake",), "users": ("user_1",)}]
    for (begin, end), of in product(spans, filters):
        bounds: dict[str, Any] = {
            "from_ns": int((MONDAY + begin * HOUR) * SECOND),
            "until_ns": int((MONDAY + end * HOUR) * SECOND),
        }
        span = Filter(**bounds, **of)
        everything = Filter(**bounds, **of, kinds=("usage", "external"))
        for bucket in (None, "hour", "week"):
            assert await sums(store, span, by, bucket) == await sums(store, everything, by, bucket)


def new_usage(**changes: Any) -> NewUsage:
    values = {"organization": "acme", "provider": "p", "model": "m", "started_ns": MONDAY * SECOND}
    return NewUsage(**{**values, "prompt_tokens": 10, "completion_tokens": 5, "idempotency_key": "k", **changes})


async def test_reported_usage_is_entered_once(store: Store) -> None:
    works = Accounts(store).works
    for expected in (True, False):
        async with works.begin(SYSTEM) as work:
            (result,) = await LedgerService(work, PerToken()).record([new_usage()])
            assert (result.is_new, result.cost_nanos) == (expected, 20)
    async with works.begin(SYSTEM) as work:
        with pytest.raises(GatewayError) as caught:
            await LedgerService(work, PerToken()).record([new_usage(prompt_tokens=11)])
        assert caught.value.code == "idempotency_key_reused"
        (other,) = await LedgerService(work, PerToken()).record([new_usage(organization="other")])
        assert other.is_new
    async with works.begin(SYSTEM) as work:
        several = [new_usage(idempotency_key=None), new_usage(idempotency_key="l"), new_usage(idempotency_key="l")]
        assert [each.is_new for each in await LedgerService(work, PerToken()).record(several)] == [True, True, False]
    found = await entries(store)
    assert [entry.kind for entry in found] == ["external"] * 4
    assert (await sums_of(store, "usage_days"))["cost_nanos"] == 80


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt_tokens": -1}, "records[1].prompt_tokens"),
        ({"cached_tokens": 11}, "records[1].cached_tokens"),
        ({"reasoning_tokens": 6}, "records[1].reasoning_tokens"),
        ({"started_ns": 2**62}, "records[1].started_ns"),
        ({"provider": ""}, "records[1].provider"),
        ({"outcome": "great"}, "records[1].outcome"),
        ({"cost_nanos": -1}, "records[1].cost"),
    ],
)
async def test_a_report_that_cannot_be_enters_nothing(store: Store, changes: dict[str, Any], field: str) -> None:
    async with Accounts(store).works.begin(SYSTEM) as work:
        with pytest.raises(GatewayError) as caught:
            await LedgerService(work).record([new_usage(), new_usage(idempotency_key="l", **changes)])
    assert caught.value.field == field
    assert await entries(store) == []


def test_sums_have_every_number() -> None:
    assert set(SUMS) < set(Sums.__struct_fields__)
