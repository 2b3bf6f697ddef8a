"""Where in time a page of entries is: sums tell how many entries each day and hour has, so that none is read to count
those before it, or to pass over those that a filter leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct, structs
from sqlalchemy import union_all
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ledger import totals
from gateway.domain.ledger.levels import DAY, HOUR, level_for
from gateway.domain.ledger.query import Dimension, Filter

Stretch: TypeAlias = tuple[int, int]
"""From a time on until before another, in Unix nanoseconds."""
_SECOND = 1_000_000_000


class Counted(Struct, frozen=True, gc=False):
    """How many entries an hour or a day has, which begins at Unix second ``start``. ``group`` is as asked for."""

    group: tuple[str, ...]
    start: int
    count: int


class Sought(Struct, frozen=True):
    """Entries of ``kinds`` within ``span``, which has a beginning and names nothing that sums don't know."""

    span: Filter
    kinds: tuple[str, ...]
    number: str
    """The sum that counts them."""


async def counts(
    session: AsyncSession, sought: Sought, bucket: Literal["hour", "day"], by: tuple[Dimension, ...] = ()
) -> list[Counted]:
    """How many there are in each hour or day, in order; none is read but at the ends of the span."""
    queries = []
    for piece in totals.pieces(sought.span, bucket):
        grain, begin, end = piece
        if grain in totals.OF_ENTRIES:
            # By their kinds, which an index has, and not by a sum, for which each would have to be read.
            within = structs.replace(sought.span, from_ns=begin, until_ns=end, kinds=sought.kinds)
            columns = totals.columns_of(by)
            queries.append(totals.of_entries(within, columns, bucket, ("entries",), less=grain == "less"))
            continue
        level = level_for((*by, *(name for name, _ in totals.named(sought.span))), sought.span.organization)
        assert level is not None, "the finest level knows every dimension"
        queries.append(totals.of_sums(level, piece, sought.span, by, bucket, (sought.number,)))
    if not queries:
        return []
    found: totals.Found = {}
    totals.add(found, (await session.execute(union_all(*queries))).all(), len(by), bucket)
    told = [Counted(key[:-1], key[-1], count) for key, (count,) in found.items() if count]
    return sorted(told, key=lambda each: (each.start, each.group))


async def stretches(
    session: AsyncSession,
    days: Iterable[tuple[int, int]],
    ahead: Sought,
    *,
    is_exact: bool,
    descending: bool,
    offset: int,
    limit: int,
) -> tuple[list[Stretch], int]:
    """Where ``limit`` entries behind the first ``offset`` are, in the order of reading; and how many are to be passed
    over there.

    ``days`` are the beginnings of days in Unix seconds and how many entries each has; ``ahead`` is what is not passed
    yet: it may cut days, and unless counts are ``is_exact``, these days have an unknown part of what they are told to.
    """
    chosen: list[int] = []
    passed = reached = 0
    for day, on_day in sorted(days, reverse=descending):
        cut = _cut(ahead.span, day)
        if cut == "all":
            continue
        known = on_day if is_exact or cut == "none" else None
        if known is not None and not chosen and reached + known <= offset:
            passed = reached = reached + known
            continue
        chosen.append(day)
        reached += known or 0
        if reached >= offset + limit:
            break
    found: list[Stretch] = []
    reached = passed
    for hour, count in await _hours(session, ahead, chosen, descending=descending):
        reached += count
        if reached <= offset:
            passed = reached
            continue
        found.append((hour * _SECOND, (hour + HOUR) * _SECOND))
        if reached >= offset + limit:
            break
    return joined(found), max(0, offset - passed)


def _cut(ahead: Filter, day: int) -> Literal["all", "some", "none"]:
    """How much of a day is not within."""
    begin, end = day * _SECOND, (day + DAY) * _SECOND
    first, last = ahead.from_ns or 0, end if ahead.until_ns is None else ahead.until_ns
    if end <= first or begin >= last:
        return "all"
    return "some" if begin < first or last < end else "none"


async def _hours(
    session: AsyncSession, sought: Sought, days: Sequence[int], *, descending: bool
) -> list[tuple[int, int]]:
    """The hours of these days, and of those between them: at once, as each statement costs what many rows do."""
    if not days:
        return []
    begin, end = max(sought.span.from_ns or 0, min(days) * _SECOND), (max(days) + DAY) * _SECOND
    end = end if sought.span.until_ns is None else min(end, sought.span.until_ns)
    rows = await counts(session, structs.replace(sought, span=sought.span.between(begin, end)), "hour")
    return [(row.start, row.count) for row in (reversed(rows) if descending else rows)]


def joined(found: Iterable[Stretch]) -> list[Stretch]:
    """The same with those that touch as one, in the same order."""
    whole: list[Stretch] = []
    for begin, end in found:
        if whole and (whole[-1][1] >= begin and end >= whole[-1][0]):
            whole[-1] = (min(whole[-1][0], begin), max(whole[-1][1], end))
        else:
            whole.append((begin, end))
    return whole


def clipped(found: Sequence[Stretch], wanted: Filter) -> list[Stretch]:
    """What of them is within a filter's span."""
    begin, end = wanted.from_ns or 0, wanted.until_ns
    cut = [(max(first, begin), last if end is None else min(last, end)) for first, last in found]
    return [(first, last) for first, last in cut if first < last]
