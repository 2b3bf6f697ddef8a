"""Pages of entries: how many there are, what is on one, and what stands of an entry that was corrected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import structs
from sqlalchemy import ColumnElement, and_, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.analytics import seeking
from gateway.domain.ledger import repo, totals
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.query import Filter, Sort

REPORTED = ("usage", "external")
"""The kinds of entries that are a request's own; corrections are of one of these."""
ALL_ACTIVITY = (*REPORTED, "activity")
"""With what callers told of themselves that is no request."""
COSTS = (*REPORTED, "reversal", "adjustment")
"""The kinds of entries that sums are of."""
_MOST_CORRECTIONS = 100  # of one entry, one after the other
_NEAR = 1_000  # entries that are passed over one by one
_SPANS = 100  # stretches of time in one statement


async def count(session: AsyncSession, wanted: Filter, more: Sequence[ColumnElement[bool]]) -> int:
    """How many entries there are.

    Where sums know the filter, they are what is read; activities are counted one by one. The sums outlive entries, so
    they count from the oldest entry on.
    """
    if more or not _known_of_sums(wanted):
        return await repo.count(session, wanted, more)
    within = await _kept(session, wanted)
    if within is None:
        return 0
    (summed,) = await totals.sums(session, within, (), None, (_number(wanted),))
    counted: int = getattr(summed, _number(wanted))
    return counted + (await _activities(session, within) if wanted.kinds == ALL_ACTIVITY else 0)


async def page(
    session: AsyncSession,
    wanted: Filter,
    order: Sequence[Sort],
    limit: int,
    after: Sequence[Any] | None,
    offset: int,
    more: Sequence[ColumnElement[bool]],
) -> list[LedgerEntry]:
    """As :func:`gateway.domain.ledger.repo.page`; in the order of time, it reads as much as is on the page alone."""
    if order[0].field != "started_ns":
        return await repo.page(session, wanted, order, limit, after, offset, more)
    seldom = bool(totals.named(wanted))
    if more or wanted.kinds == ALL_ACTIVITY or not _known_of_sums(wanted) or not (seldom or offset > _NEAR):
        return await _in_time(session, wanted, order, limit, after, offset, more)
    within = await _kept(session, wanted)
    if within is None:
        return []
    narrow = await _narrowed(session, within)
    spans, offset = await _spans(session, narrow, order[0], limit, after, offset, _number(wanted))
    found: list[LedgerEntry] = []
    for start in range(0, len(spans), _SPANS):
        started = LedgerEntry.started_ns
        among = or_(*(and_(started >= begin, started < end) for begin, end in spans[start : start + _SPANS]))
        kept = structs.replace(narrow, kinds=wanted.kinds)
        found += await _in_time(session, kept, order, limit - len(found), after, offset, (among,))
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


def _known_of_sums(wanted: Filter) -> bool:
    known = wanted.kinds in (REPORTED, ALL_ACTIVITY, COSTS)
    return known and not (wanted.sources or wanted.endpoints or wanted.tags)


def _number(wanted: Filter) -> str:
    """What counts the entries: a correction takes a request back and enters it again, so those don't count it twice."""
    return "entries" if wanted.kinds == COSTS else "requests"


async def _in_time(
    session: AsyncSession,
    wanted: Filter,
    order: Sequence[Sort],
    limit: int,
    after: Sequence[Any] | None,
    offset: int,
    more: Sequence[ColumnElement[bool]],
) -> list[LedgerEntry]:
    """A page, read by an index that has the order of time: that of an organisation, of a model, or of all."""
    indexed = Filter(organization=wanted.organization, from_ns=wanted.from_ns, until_ns=wanted.until_ns)
    if wanted.organization is None and len(wanted.providers) == len(wanted.models) == 1:
        indexed = structs.replace(indexed, providers=wanted.providers, models=wanted.models)
    rest = structs.replace(wanted, organization=None, from_ns=None, until_ns=None)
    return await repo.page(
        session, indexed, order, limit, after, offset, (*repo.conditions(rest, steered="values"), *more)
    )


async def _narrowed(session: AsyncSession, within: Filter) -> Filter:
    """The same entries by a filter that an index knows: a user is of one organisation, a model of one provider."""
    if within.organization is not None:
        return within
    if within.users or within.credentials:
        found = await totals.sums(session, within, ("organization",), None, ("requests",))
        return within.within(found[0].group[0]) if len(found) == 1 else within
    if len(within.models) == 1:
        found = await totals.sums(session, within, ("provider",), None, ("requests",))
        return structs.replace(within, providers=found[0].group) if len(found) == 1 and found[0].group[0] else within
    return within


async def _spans(
    session: AsyncSession,
    within: Filter,
    first: Sort,
    limit: int,
    after: Sequence[Any] | None,
    offset: int,
    number: str,
) -> tuple[list[seeking.Stretch], int]:
    """Where a page is; see :func:`gateway.domain.analytics.seeking.stretches`."""
    ahead, seen = within, []
    if after is not None:
        at = int(after[0])
        # Others of the same instant may be behind the one that was seen last.
        seen = [(at, at + 1)]
        begin, end = within.from_ns, within.until_ns
        ahead = within.between(begin, at if end is None else min(at, end)) if first.descending else within.between(
            at + 1 if begin is None else max(at + 1, begin), end
        )  # fmt: skip
    found, offset = await seeking.stretches(
        session, ahead, number, descending=first.descending, offset=offset, limit=limit
    )
    return seeking.joined([*seen, *seeking.clipped(found, ahead)]), offset


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
