"""Sums over entries, read from the sums of days and hours wherever these tell.

A span is cut into pieces: whole days from the one table, whole hours from the other, and what is left at its two ends
from the entries. So a year costs what its days cost, whatever the bounds are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

from sqlalchemy import BigInteger, ColumnElement, Select, case, func, literal, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ledger import repo
from gateway.domain.ledger.model import LedgerEntry, UsageDay, UsageHour
from gateway.domain.ledger.query import Bucket, Dimension, Filter, Sums
from gateway.domain.ledger.rollup import DAY, HOUR, SUMS

SECOND = 1_000_000_000

Grain = Literal["day", "hour", "entry"]
Piece: TypeAlias = tuple[Grain, int | None, int | None]
"""Where to read, from when and until when, in Unix nanoseconds; None is without a bound."""


async def sums(
    session: AsyncSession,
    wanted: Filter,
    by: tuple[Dimension, ...],
    bucket: Bucket | None,
    numbers: tuple[str, ...] = SUMS,
) -> list[Sums]:
    """See :meth:`gateway.domain.ledger.service.LedgerService.sums`. Only ``numbers`` are read, the others stay 0."""
    found: dict[tuple[Any, ...], list[int]] = {}
    width = len(by)
    for piece in pieces(wanted, bucket):
        for row in await session.execute(_query(piece, wanted, by, bucket, numbers)):
            start = None if bucket is None else _start(row[width], bucket)
            values = [int(value or 0) for value in row[width + 1 :]]
            key = (start, *(value or "" for value in row[:width]))
            before = found.get(key)
            found[key] = values if before is None else [a + b for a, b in zip(before, values, strict=True)]
    if not by and bucket is None and not found:
        found[(None,)] = [0] * len(numbers)
    # A query without groups gives a row even where it found nothing.
    kept = [key for key, values in found.items() if any(values) or (not by and bucket is None)]
    ordered = sorted(kept, key=lambda key: (key[0] or 0, key[1:]))
    return [Sums(group=key[1:], start=key[0], **dict(zip(numbers, found[key], strict=True))) for key in ordered]


def pieces(wanted: Filter, bucket: Bucket | None) -> Iterator[Piece]:
    """The span of a filter, each instant of it once, in the coarsest grains that tell of it."""
    begin, end = wanted.from_ns, wanted.until_ns
    if wanted.kinds or wanted.sources or wanted.endpoints or wanted.tags:
        yield "entry", begin, end
        return
    yield from _cut(begin, end, [("hour", HOUR)] if bucket == "hour" else [("day", DAY), ("hour", HOUR)])


def _cut(begin: int | None, end: int | None, grains: Sequence[tuple[Grain, int]]) -> Iterator[Piece]:
    if begin is not None and end is not None and begin >= end:
        return
    if not grains:
        yield "entry", begin, end
        return
    (grain, seconds), finer = grains[0], grains[1:]
    size = seconds * SECOND
    first = None if begin is None else -(-begin // size) * size
    last = None if end is None else end // size * size
    if first is not None and last is not None and first >= last:
        yield from _cut(begin, end, finer)
        return
    if begin is not None and first != begin:
        yield from _cut(begin, first, finer)
    yield grain, first, last
    if end is not None and last != end:
        yield from _cut(last, end, finer)


def _query(
    piece: Piece, wanted: Filter, by: tuple[Dimension, ...], bucket: Bucket | None, numbers: tuple[str, ...]
) -> Select[Any]:
    grain, begin, end = piece
    if grain == "entry":
        return _of_entries(wanted.between(begin, end), by, bucket, numbers)
    table = UsageDay if grain == "day" else UsageHour
    start: ColumnElement[Any] = table.start if bucket is not None else literal(0)  # type: ignore[assignment]
    columns = [getattr(table, name) for name in by]
    conditions = list(_of_sums(table, wanted))
    if begin is not None:
        conditions.append(table.start >= begin // SECOND)
    if end is not None:
        conditions.append(table.start < end // SECOND)
    query = select(*columns, start, *(func.sum(getattr(table, name)) for name in numbers)).where(*conditions)
    return query.group_by(*columns, *([start] if bucket is not None else []))


def _of_sums(table: type[UsageDay] | type[UsageHour], wanted: Filter) -> Iterator[ColumnElement[bool]]:
    if wanted.organization is not None:
        yield table.organization == wanted.organization
    for column, values in (
        (table.provider, wanted.providers),
        (table.model, wanted.models),
        (table.credential, wanted.credentials),
        (table.user, wanted.users),
        (table.outcome, wanted.outcomes),
    ):
        if values:
            yield column.in_(values)


def _of_entries(
    wanted: Filter, by: tuple[Dimension, ...], bucket: Bucket | None, numbers: tuple[str, ...]
) -> Select[Any]:
    entry: Any = LedgerEntry
    size = HOUR if bucket == "hour" else DAY
    # Written out: with parameters the expression would not be the same one in SELECT and in GROUP BY.
    seconds = entry.started_ns // literal_column(str(SECOND), BigInteger)
    start = seconds - seconds % literal_column(str(size), BigInteger) if bucket is not None else literal(0)
    columns = [func.coalesce(getattr(entry, name), "") for name in by]
    once, milliseconds = entry.requests, (entry.ended_ns - entry.started_ns) // 1_000_000
    computed = {
        "cost_nanos": func.coalesce(entry.cost_nanos, 0),
        "unpriced": case((entry.cost_nanos.is_(None), once), else_=0),
        "estimated": case((entry.estimated, once), else_=0),
        "streamed": case((entry.stream, once), else_=0),
        "duration_ms": once * milliseconds,
        "first_token_ms": func.coalesce(once * entry.first_token_ms, 0),
        "first_tokens": case((entry.first_token_ms.is_(None), 0), else_=once),
    }
    query = select(*columns, start, *(func.sum(computed.get(name, getattr(entry, name, None))) for name in numbers))
    return query.where(*repo.conditions(wanted)).group_by(*columns, *([start] if bucket is not None else []))


def _start(seconds: int, bucket: Bucket) -> int:
    """The beginning of the bucket that holds an hour."""
    if bucket == "hour":
        return seconds
    seconds -= seconds % DAY
    if bucket == "day":
        return seconds
    day = datetime.fromtimestamp(seconds, UTC)
    begin = day.replace(day=1) if bucket == "month" else day - timedelta(days=day.weekday())
    return int(begin.timestamp())
