"""Where in time a page of entries is: sums tell how many entries each day and hour has, so that none is read to count
those before it, or to pass over those that a filter leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from msgspec import structs
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ledger import totals
from gateway.domain.ledger.levels import DAY, HOUR
from gateway.domain.ledger.query import Filter

Stretch: TypeAlias = tuple[int, int]
"""From a time on until before another, in Unix nanoseconds."""
_SECOND = 1_000_000_000


async def stretches(
    session: AsyncSession,
    days: Iterable[tuple[int, int]],
    ahead: Filter,
    number: str,
    *,
    descending: bool,
    offset: int,
    limit: int,
) -> tuple[list[Stretch], int]:
    """Where ``limit`` entries behind the first ``offset`` are, in the order of reading; and how many are to be passed
    over there.

    ``days`` are the beginnings of days in Unix seconds and how many entries each has; ``ahead`` is the filter of what
    is not passed yet: it has a beginning, may cut days, and names nothing that sums don't know. ``number`` is the sum
    that counts.
    """
    found: list[Stretch] = []
    passed = reached = 0
    for day, on_day in sorted(days, reverse=descending):
        cut = _cut(ahead, day)
        if cut == "all" or (cut == "none" and reached + on_day <= offset):
            passed = reached = reached + (on_day if cut == "none" else 0)
            continue
        for hour, count in sorted(await _hours(session, ahead, number, day), reverse=descending):
            reached += count
            if reached <= offset:
                passed = reached
                continue
            found.append((hour * _SECOND, (hour + HOUR) * _SECOND))
            if reached >= offset + limit:
                return joined(found), offset - passed
    return joined(found), max(0, offset - passed)


def _cut(ahead: Filter, day: int) -> Literal["all", "some", "none"]:
    """How much of a day is not within."""
    begin, end = day * _SECOND, (day + DAY) * _SECOND
    first, last = ahead.from_ns or 0, end if ahead.until_ns is None else ahead.until_ns
    if end <= first or begin >= last:
        return "all"
    return "some" if begin < first or last < end else "none"


async def _hours(session: AsyncSession, wanted: Filter, number: str, day: int) -> list[tuple[int, int]]:
    begin, end = max(wanted.from_ns or 0, day * _SECOND), (day + DAY) * _SECOND
    end = end if wanted.until_ns is None else min(end, wanted.until_ns)
    rows = await totals.sums(session, structs.replace(wanted, from_ns=begin, until_ns=end), (), "hour", (number,))
    return [(row.start or 0, getattr(row, number)) for row in rows]


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
