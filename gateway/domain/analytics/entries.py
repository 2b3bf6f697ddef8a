"""Pages of entries: how many there are, what is on one, and what stands of an entry that was corrected."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from msgspec import structs
from sqlalchemy import ColumnElement, and_, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.analytics import seeking
from gateway.domain.ledger import repo, totals
from gateway.domain.ledger.levels import CALLERS, WEEK
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.query import Dimension, Filter, Sort

REPORTED = ("usage", "external")
"""The kinds of entries that are a request's own; corrections are of one of these."""
ALL_ACTIVITY = (*REPORTED, "activity")
"""With what callers told of themselves that is no request."""
COSTS = (*REPORTED, "reversal", "adjustment")
"""The kinds of entries that sums are of."""
_MOST_CORRECTIONS = 100  # of one entry, one after the other
_NEAR = 1_000  # entries that are passed over one by one
_SPANS = 100  # stretches of time in one statement


async def read(
    session: AsyncSession,
    wanted: Filter,
    order: Sequence[Sort],
    limit: int,
    after: Sequence[Any] | None,
    offset: int,
    more: Sequence[ColumnElement[bool]],
) -> tuple[list[LedgerEntry], int]:
    """A page as :func:`gateway.domain.ledger.repo.page` has it, and how many entries all pages have.

    Where sums know the filter, they are what is counted by, from the oldest entry on that is kept: they outlive
    entries. In the order of time, not much more is read than is on the page.
    """
    by_time = order[0].field == "started_ns"
    plain = _in_time if by_time else repo.page
    if more or wanted.sources or wanted.endpoints or wanted.tags or wanted.kinds not in (REPORTED, ALL_ACTIVITY, COSTS):
        total = await repo.count(session, wanted, more)
        return await plain(session, wanted, order, limit, after, offset, more), total
    within = await _kept(session, wanted)
    if within is None:
        return [], 0
    if wanted.kinds != ALL_ACTIVITY:
        within = await _of_one_organization(session, within)
    sought = seeking.Sought(within, wanted.kinds, "entries" if wanted.kinds == COSTS else totals.REPORTED)
    by = _narrowing(within)
    counts = await seeking.counts(session, sought, "day", by)
    total = sum(each.count for each in counts)
    if wanted.kinds == ALL_ACTIVITY:
        total += await _activities(session, within)
    elif by_time and (totals.named(wanted) or offset > _NEAR):
        narrow = _narrowed(within, by, {each.group for each in counts})
        ahead, seen = _ahead(narrow, order[0], after)
        spans, offset = await seeking.stretches(
            session,
            [(each.start, each.count) for each in _by_day(counts)],
            structs.replace(sought, span=ahead),
            is_exact=after is None,
            descending=order[0].descending,
            offset=offset,
            limit=limit,
        )
        spans = seeking.joined([*seen, *seeking.clipped(spans, ahead)])
        return await _among(session, spans, narrow, wanted.kinds, order, limit, after, offset), total
    return await plain(session, wanted, order, limit, after, offset), total


async def _among(
    session: AsyncSession,
    spans: Sequence[seeking.Stretch],
    narrow: Filter,
    kinds: tuple[str, ...],
    order: Sequence[Sort],
    limit: int,
    after: Sequence[Any] | None,
    offset: int,
) -> list[LedgerEntry]:
    """A page, all of which is within ``spans``, one behind the other."""
    found: list[LedgerEntry] = []
    started = LedgerEntry.started_ns
    for start in range(0, len(spans), _SPANS):
        some = spans[start : start + _SPANS]
        begin, end = min(begin for begin, _ in some), max(end for _, end in some)
        wanted = structs.replace(narrow, from_ns=begin, until_ns=end, kinds=kinds)
        within = or_(*(and_(started >= begin, started < end) for begin, end in some))
        more = (within,) if len(some) > 1 else ()
        found += await _in_time(session, wanted, order, limit - len(found), after, offset, more)
        if len(found) == limit:
            break
        offset = 0  # all that is passed over is in the first ones
    return found


async def standing(session: AsyncSession, entries: Sequence[LedgerEntry]) -> dict[str, int | None]:
    """What entries cost by their last correction, by id: nano-dollars, None where nobody knows."""
    costs = {entry.id: entry.cost_nanos for entry in entries}
    origins = {id: id for id in costs}
    for _ in range(_MOST_CORRECTIONS):
        query = select(LedgerEntry.corrects, LedgerEntry.id, LedgerEntry.cost_nanos).where(
            LedgerEntry.corrects.in_(list(origins)), LedgerEntry.kind == "adjustment"
        )
        rows = [] if not origins else (await session.execute(query)).all()
        origins = {id: origins[corrects or ""] for corrects, id, _ in rows}
        costs |= {origins[id]: cost for _, id, cost in rows}
        if not origins:
            break
    return costs


async def _in_time(
    session: AsyncSession,
    wanted: Filter,
    order: Sequence[Sort],
    limit: int,
    after: Sequence[Any] | None,
    offset: int,
    more: Sequence[ColumnElement[bool]] = (),
) -> list[LedgerEntry]:
    """A page, read by an index that has the order of time: that of an organisation, of a model, or of all."""
    indexed = Filter(organization=wanted.organization, from_ns=wanted.from_ns, until_ns=wanted.until_ns)
    if wanted.organization is None and len(wanted.providers) == len(wanted.models) == 1:
        indexed = structs.replace(indexed, providers=wanted.providers, models=wanted.models)
    rest = structs.replace(wanted, organization=None, from_ns=None, until_ns=None)
    return await repo.page(
        session, indexed, order, limit, after, offset, (*repo.conditions(rest, steered="values"), *more)
    )


async def _of_one_organization(session: AsyncSession, within: Filter) -> Filter:
    """The same entries by the organization as well, which indexes begin with: a user and a key are of one."""
    if within.organization is not None or not (within.users or within.credentials):
        return within
    weeks = CALLERS.table(WEEK).c
    known = [weeks[name].in_(values) for name, values in totals.named(within) if name in CALLERS.keys]
    found = list(await session.scalars(select(weeks.organization).where(*known).distinct().limit(2)))
    return within.within(found[0]) if len(found) == 1 else within


def _narrowing(within: Filter) -> tuple[Dimension, ...]:
    """What to count by as well, since an index knows it: a model is of one provider."""
    return ("provider",) if within.organization is None and len(within.models) == 1 else ()


def _narrowed(within: Filter, by: tuple[Dimension, ...], groups: Collection[tuple[str, ...]]) -> Filter:
    """The same entries by the filter that an index knows, where there is one."""
    if not by or len(groups) != 1:
        return within
    ((provider,),) = groups
    return structs.replace(within, providers=(provider,)) if provider else within


def _by_day(counts: Sequence[seeking.Counted]) -> Iterator[seeking.Counted]:
    """The same with one for each day."""
    for start, each in groupby(counts, key=attrgetter("start")):
        yield seeking.Counted((), start, sum(one.count for one in each))


def _ahead(within: Filter, first: Sort, after: Sequence[Any] | None) -> tuple[Filter, list[seeking.Stretch]]:
    """What is beyond the instant of the entry that was seen last, and that instant: others of it may be beyond too."""
    if after is None:
        return within, []
    at, begin, end = int(after[0]), within.from_ns or 0, within.until_ns
    if first.descending:
        return within.between(begin, at if end is None else min(at, end)), [(at, at + 1)]
    return within.between(max(at + 1, begin), end), [(at, at + 1)]


async def _kept(session: AsyncSession, wanted: Filter) -> Filter | None:
    """The filter without kinds, from the oldest entry on that is kept; None where there is none."""
    query = select(LedgerEntry.started_ns).order_by(LedgerEntry.started_ns).limit(1)
    if wanted.organization is not None:
        query = query.where(LedgerEntry.organization == wanted.organization)
    oldest: int | None = await session.scalar(query)
    if oldest is None:
        return None
    start = oldest if wanted.from_ns is None else max(oldest, wanted.from_ns)
    return structs.replace(wanted, from_ns=start, kinds=())


async def _activities(session: AsyncSession, wanted: Filter) -> int:
    # Spelt out, not as a parameter: only so is the index over activities the one to read.
    query = select(func.count()).where(LedgerEntry.kind == literal_column("'activity'"))
    return await session.scalar(query.where(*repo.conditions(wanted, steered="everything"))) or 0
