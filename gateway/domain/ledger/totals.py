"""Sums over entries, read from the sums of weeks, days and hours wherever these tell.

A span is cut into pieces: whole weeks from one table, whole days and hours from others, and what is left at its two
ends from the entries; where that is most of what an hour has so far, from the hour, less the entries behind it. So a
year costs what its days cost, whatever the bounds are; each of them is read from the table with the fewest rows that
knows what is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import add as add_up
from operator import itemgetter
from typing import Any, Literal, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Table,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ledger import repo
from gateway.domain.ledger.levels import DAY, HOUR, MONDAY, ORGANIZATIONS, SUMS, WEEK, Level, beginning, level_for
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.query import Bucket, Dimension, Filter, Sums

SECOND = 1_000_000_000

Grain = Literal["week", "day", "hour", "entry", "less"]
Piece: TypeAlias = tuple[Grain, int | None, int | None]
"""Where to read, from when and until when, in Unix nanoseconds; None is without a bound. What is ``less`` is read from
the entries too, and taken off."""
Found: TypeAlias = dict[tuple[Any, ...], tuple[int, ...]]
"""Numbers by dimensions and the bucket's start, which is 0 where there are no buckets."""
REPORTED = "reported"
"""What counts entries but for corrections, which take a request back and enter it again: requests, and the shadows that
are none. For pieces of sums, of a level that knows outcomes."""
OF_ENTRIES: frozenset[Grain] = frozenset({"entry", "less"})
SIZES: dict[Grain, int] = {"week": WEEK, "day": DAY, "hour": HOUR}
"""Seconds of the buckets of a grain."""


async def sums(
    session: AsyncSession,
    wanted: Filter,
    by: tuple[Dimension, ...],
    bucket: Bucket | None,
    numbers: tuple[str, ...] = SUMS,
) -> list[Sums]:
    """Sums by dimension and bucket, ordered by bucket and group; without either exactly one.

    Only ``numbers`` are read, the others stay 0.
    """
    found: Found = {}
    level = level_for((*by, *(name for name, _ in named(wanted))), wanted.organization)
    assert level is not None, "the finest level knows every dimension"
    queries = [_query(level, piece, wanted, by, bucket, numbers) for piece in pieces(wanted, bucket, sizes=level.sizes)]
    if queries:
        # As one statement: what a further one costs is more than what most pieces do.
        add(found, (await session.execute(union_all(*queries))).all(), len(by), bucket)
    return told(found, len(by), bucket, numbers)


def add(found: Found, rows: Iterable[Any], width: int, bucket: Bucket | None) -> None:
    """Add rows of ``width`` dimensions, the bucket's start and numbers to what was found, by dimensions and start."""
    cut = width + 1
    for row in rows:
        key, values = row[:cut], row[cut:]
        if bucket == "month":
            key = (*key[:width], _month_of(key[width]))
        elif bucket is None and not width:
            values = tuple(value or 0 for value in values)  # of nothing at all
        before = found.get(key)
        found[key] = values if before is None else (*map(add_up, before, values),)


def told(found: Found, width: int, bucket: Bucket | None, numbers: tuple[str, ...]) -> list[Sums]:
    """What :func:`add` found, in order."""
    all_of = itemgetter(*(numbers.index(name) if name in numbers else -1 for name in SUMS))
    if not width and bucket is None:
        # A query without groups gives a row even where it found nothing.
        return [Sums((), None, *all_of((*found.get((0,), (0,) * len(numbers)), 0)))]
    kept = sorted(key for key, values in found.items() if any(values))
    if bucket is None:
        return [Sums(key[:width], None, *all_of((*found[key], 0))) for key in kept]
    kept.sort(key=itemgetter(width))
    return [Sums(key[:width], key[width], *all_of((*found[key], 0))) for key in kept]


def pieces(
    wanted: Filter, bucket: Bucket | None, now: int | None = None, sizes: Collection[int] = (HOUR, DAY)
) -> list[Piece]:
    """The span of a filter, each instant of it once, in the coarsest grains that tell of it, in order.

    ``now``, in Unix nanoseconds, is that of the clock unless it is given: of what comes there are hardly any entries.
    ``sizes`` are those that there are tables of.
    """
    begin, end = wanted.from_ns, wanted.until_ns
    if wanted.kinds or wanted.sources or wanted.endpoints or wanted.tags:
        return [("entry", begin, end)]
    now = time.time_ns() if now is None else now
    grains: list[tuple[Grain, int]] = [(grain, SIZES[grain]) for grain in _GRAINS[bucket] if SIZES[grain] in sizes]
    last = _filled_up(begin, end, [size for _, size in grains], now)
    found: list[Piece] = []
    for piece in _cut(begin, last, grains):
        for grain, first, behind in _turned(piece, now):
            before = found[-1] if found else None
            if before is not None and grain == "hour" == before[0] and before[2] == first:
                found[-1] = (grain, before[1], behind)  # read at once
            else:
                found.append((grain, first, behind))
    if last != end:
        found.append(("less", end, last))
    return found


def _filled_up(begin: int | None, end: int | None, sizes: Sequence[int], now: int) -> int | None:
    """Where a span that ends now may end as well: with the week, the day or the hour, of which the rest is to come.

    What has come since its end must be taken off, so not where that is more than the hour has had until then.
    """
    if end is None or end % (HOUR * SECOND) == 0 or now - end >= end % (HOUR * SECOND):
        return end
    for size in sizes:
        first = beginning(end // SECOND, size) * SECOND
        if now < first + size * SECOND and (begin is None or begin <= first):
            return first + size * SECOND
    return end


_GRAINS: dict[Bucket | None, tuple[Grain, ...]] = {
    None: ("week", "day", "hour"),
    "month": ("day", "hour"),
    "week": ("week", "day", "hour"),
    "day": ("day", "hour"),
    "hour": ("hour",),
}


def _turned(piece: Piece, now: int) -> Iterator[Piece]:
    """Entries of an hour's beginning as the whole hour, less the others, where these are fewer.

    Not of its end: what is before that may be too old, and gone, while the hour tells of it.
    """
    grain, begin, end = piece
    if grain != "entry" or begin is None or end is None:
        yield piece
        return
    size = HOUR * SECOND
    hour = end // size * size
    if begin < hour < end:
        yield "entry", begin, hour
        begin = hour
    if begin == hour and max(0, min(hour + size, now) - end) < end - begin:
        yield "hour", hour, hour + size
        yield "less", end, hour + size
    else:
        yield "entry", begin, end


def _cut(begin: int | None, end: int | None, grains: Sequence[tuple[Grain, int]]) -> Iterator[Piece]:
    if begin is not None and end is not None and begin >= end:
        return
    if not grains:
        yield "entry", begin, end
        return
    (grain, seconds), finer = grains[0], grains[1:]
    size = seconds * SECOND
    first = None if begin is None else begin + (MONDAY * SECOND - begin) % size
    last = None if end is None else end - (end - MONDAY * SECOND) % size
    if first is not None and last is not None and first >= last:
        yield from _cut(begin, end, finer)
        return
    if begin is not None and first != begin:
        yield from _cut(begin, first, finer)
    yield grain, first, last
    if end is not None and last != end:
        yield from _cut(last, end, finer)


def _query(
    level: Level,
    piece: Piece,
    wanted: Filter,
    by: tuple[Dimension, ...],
    bucket: Bucket | None,
    numbers: tuple[str, ...],
) -> Select[Any]:
    grain, begin, end = piece
    if grain in OF_ENTRIES:
        return of_entries(wanted.between(begin, end), columns_of(by), bucket, numbers, less=grain == "less")
    return of_sums(level, piece, wanted, by, bucket, numbers)


def of_sums(
    level: Level,
    piece: Piece,
    wanted: Filter,
    by: Sequence[str],
    bucket: Bucket | None,
    numbers: tuple[str, ...],
) -> Select[Any]:
    """A statement for a piece of weeks, days or hours, from the tables of a level that knows all that is asked for."""
    grain, begin, end = piece
    table = level.table(SIZES[grain])
    start: ColumnElement[Any] = literal(0)
    if bucket is not None:
        start = _start_in_sums(table.c.start, grain, bucket)
    columns = [table.c[name] for name in by]
    query = select(*columns, start, *(_sum(_number_in_sums(table, name)) for name in numbers))
    query = query.where(*_within(table, begin, end), *_who(level, piece, wanted))
    query = query.where(*(table.c[name].in_(values) for name, values in named(wanted)))
    return query.group_by(*columns, *([start] if bucket is not None else []))


def named(wanted: Filter) -> list[tuple[str, tuple[str, ...]]]:
    """The dimensions, but for the organisation, that a filter names values of."""
    several = (
        ("provider", wanted.providers),
        ("model", wanted.models),
        ("credential", wanted.credentials),
        ("user", wanted.users),
        ("outcome", wanted.outcomes),
    )
    return [(name, values) for name, values in several if values]


def _within(table: Table, begin: int | None, end: int | None) -> Iterator[ColumnElement[bool]]:
    if begin is not None:
        yield table.c.start >= begin // SECOND
    if end is not None:
        yield table.c.start < end // SECOND


def _who(level: Level, piece: Piece, wanted: Filter) -> Iterator[ColumnElement[bool]]:
    grain, begin, end = piece
    table = level.table(SIZES[grain])
    if wanted.organization is not None:
        yield table.c.organization == wanted.organization
    elif level.keys[0] == "organization" and (begin is not None or end is not None):
        # One span of the primary key for each organisation, instead of all there ever was.
        all_of_them = ORGANIZATIONS.table(min(DAY, SIZES[grain]))
        yield table.c.organization.in_(
            select(all_of_them.c.organization).where(*_within(all_of_them, begin, end)).distinct()
        )


def _number_in_sums(table: Table, name: str) -> ColumnElement[Any]:
    if name != REPORTED:
        return table.c[name]
    return case((table.c.outcome == "shadow", table.c.entries), else_=table.c.requests)


def _sum(column: ColumnElement[Any]) -> ColumnElement[Any]:
    # PostgreSQL's sums are decimals, each of which costs the driver what a row of whole numbers does.
    return cast(func.sum(column), BigInteger)


def of_entries(
    wanted: Filter,
    columns: Sequence[ColumnElement[Any]],
    bucket: Bucket | None,
    numbers: tuple[str, ...],
    *,
    less: bool = False,
) -> Select[Any]:
    """The same as :func:`of_sums` from the entries themselves, by any columns; negated for what is ``less``."""
    start: ColumnElement[Any] = literal(0) if bucket is None else _start_in_entries(bucket)
    known = [func.coalesce(column, "") for column in columns]
    sums = (_sum(_number_in_entries(name)) for name in numbers)
    query = select(*known, start, *(-value if less else value for value in sums))
    # Within a bit of time, the index to read is that of time.
    bounded = wanted.from_ns is not None and wanted.until_ns is not None
    query = query.where(*repo.conditions(wanted, steered="values" if bounded else "nothing"))
    if bounded and wanted.organization is None and named(wanted):
        query = query.where(repo.from_entries_alone())
    return query.group_by(*known, *([start] if bucket is not None else []))


def columns_of(by: Sequence[Dimension]) -> list[ColumnElement[Any]]:
    """Dimensions as an entry has them."""
    return [getattr(LedgerEntry, name) for name in by]


def _start_in_entries(bucket: Bucket) -> ColumnElement[Any]:
    """The hour or day, in Unix seconds, that an entry is in."""
    size = HOUR if bucket == "hour" else DAY
    # Written out: with parameters the expression would not be the same one in SELECT and in GROUP BY.
    seconds: Any = LedgerEntry.started_ns // literal_column(str(SECOND), BigInteger)
    found: ColumnElement[Any] = seconds - seconds % literal_column(str(size), BigInteger)
    return _week(found) if bucket == "week" else found


def _start_in_sums(start: ColumnElement[Any], grain: Grain, bucket: Bucket) -> ColumnElement[Any]:
    """The bucket that an hour, a day or a week is in; for months the day."""
    if bucket == "week":
        return start if grain == "week" else _week(start)
    size = literal_column(str(DAY), BigInteger)
    return start if bucket == "hour" or grain == "day" else start - start % size


def _week(start: ColumnElement[Any]) -> ColumnElement[Any]:
    """The beginning of the week: far fewer rows than days. Months have no such size, and are added up from days."""
    monday, size = (literal_column(str(seconds), BigInteger) for seconds in (MONDAY, WEEK))
    return start - (start - monday) % size


def _number_in_entries(name: str) -> ColumnElement[Any]:
    """What an entry adds to one of the sums; 0 for an activity, which is in none."""
    entry: Any = LedgerEntry
    once = entry.requests
    computed: dict[str, ColumnElement[Any]] = {
        "cost_nanos": func.coalesce(entry.cost_nanos, 0),
        "unpriced": case((entry.cost_nanos.is_(None), once), else_=0),
        "estimated": case((entry.estimated, once), else_=0),
        "streamed": case((entry.stream, once), else_=0),
        "duration_ms": once * ((entry.ended_ns - entry.started_ns) // 1_000_000),
        "first_token_ms": func.coalesce(once * entry.first_token_ms, 0),
        "first_tokens": case((entry.first_token_ms.is_(None), 0), else_=once),
        "entries": case((entry.kind == "activity", 0), else_=1),
    }
    found: ColumnElement[Any] = computed[name] if name in computed else getattr(entry, name)
    return found


def _month_of(seconds: int) -> int:
    """The beginning of the month, in Unix seconds."""
    first = datetime.fromtimestamp(seconds, UTC).replace(day=1, hour=0, minute=0, second=0)
    return int(first.timestamp())
