"""Pages of entries: how many there are, what is on one, and what stands of an entry that was corrected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import structs
from sqlalchemy import ColumnElement, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

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


async def count(session: AsyncSession, wanted: Filter, more: Sequence[ColumnElement[bool]]) -> int:
    """How many entries there are.

    Where sums know the filter, they are what is read: each request adds 1 to theirs. Corrections and activities are
    few, and counted one by one. The sums outlive entries, so they count from the oldest entry on.
    """
    known = wanted.kinds in (REPORTED, ALL_ACTIVITY, COSTS)
    if more or wanted.sources or wanted.endpoints or wanted.tags or not known:
        return await repo.count(session, wanted, more)
    oldest = await _oldest(session, wanted.organization)
    if oldest is None:
        return 0
    start = oldest if wanted.from_ns is None else max(oldest, wanted.from_ns)
    within = structs.replace(wanted, from_ns=start, kinds=())
    (summed,) = await totals.sums(session, within, (), None, ("requests",))
    entry = LedgerEntry
    # "> ''" is what makes the index over corrections the one to read.
    query = select(func.count(), func.coalesce(func.sum(entry.requests), 0)).where(
        entry.corrects > "", entry.corrects.is_not(None), *_steered(within), *_of_time(within)
    )
    corrections, requests = (await session.execute(query)).one()
    counted = int(summed.requests - requests)
    if wanted.kinds == COSTS:
        return counted + int(corrections)
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
    """As :func:`gateway.domain.ledger.repo.page`, reading in the order of time where that is the order asked for."""
    if order[0].field != "started_ns":
        return await repo.page(session, wanted, order, limit, after, offset, more)
    by_time = Filter(organization=wanted.organization, from_ns=wanted.from_ns, until_ns=wanted.until_ns)
    return await repo.page(session, by_time, order, limit, after, offset, (*_steered(wanted), *more))


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


async def _activities(session: AsyncSession, wanted: Filter) -> int:
    entry = LedgerEntry
    # Spelt out, not as a parameter: only so is the index over activities the one to read.
    query = select(func.count()).where(entry.kind == literal_column("'activity'"), *_steered(wanted), *_of_time(wanted))
    return await session.scalar(query) or 0


async def _oldest(session: AsyncSession, organization: str | None) -> int | None:
    query = select(LedgerEntry.started_ns).order_by(LedgerEntry.started_ns).limit(1)
    if organization is not None:
        query = query.where(LedgerEntry.organization == organization)
    oldest: int | None = await session.scalar(query)
    return oldest


def _of_time(wanted: Filter) -> list[ColumnElement[bool]]:
    entry, found = LedgerEntry, []
    if wanted.organization is not None:
        found.append(func.coalesce(entry.organization, "") == wanted.organization)
    if wanted.from_ns is not None:
        found.append(func.coalesce(entry.started_ns, 0) >= wanted.from_ns)
    if wanted.until_ns is not None:
        found.append(func.coalesce(entry.started_ns, 0) < wanted.until_ns)
    return found


def _steered(wanted: Filter) -> list[ColumnElement[bool]]:
    """The conditions of a filter, but for its time and organisation, put so that no index is chosen for them.

    A database that knows no statistics takes the index on a provider for a good one, and then sorts all it finds.
    """
    entry = LedgerEntry
    several: tuple[tuple[Any, tuple[str, ...]], ...] = (
        (entry.provider, wanted.providers),
        (entry.model, wanted.models),
        (entry.credential, wanted.credentials),
        (entry.user, wanted.users),
        (entry.outcome, wanted.outcomes),
        (entry.kind, wanted.kinds),
        (entry.source, wanted.sources),
        (entry.endpoint, wanted.endpoints),
    )
    found: list[ColumnElement[bool]] = [func.coalesce(column, "").in_(values) for column, values in several if values]
    found.extend(entry.tags[name].as_string() == value for name, value in wanted.tags)
    return found
