"""Reading entries and sums, and adding to both. Nothing here changes or removes an entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, cast

import msgspec
from sqlalchemy import ColumnElement, Integer, Table, and_, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.query import Filter, Sort
from gateway.domain.ledger.statements import insert_statements
from gateway.store.base import fit

ENTRIES = cast("Table", LedgerEntry.__table__)
_JSON_COLUMNS = ("cost_parts", "units", "tags", "attempts", "metadata")
_COLUMNS = tuple(
    column.name for column in ENTRIES.columns if column.name != "number" and column.name not in _JSON_COLUMNS
)
_plain = itemgetter(*_COLUMNS)
_encode = msgspec.json.Encoder().encode
# Given to the drivers as they are: what SQLAlchemy does with each value of a statement is half of all the work.
_INSERTS = insert_statements(ENTRIES.name, (*_COLUMNS, *_JSON_COLUMNS))
_ID_BATCH = 500  # SQLite takes 999 parameters in its oldest builds
_ORDERED_NUMBERS = frozenset(
    {"number", "started_ns", "ended_ns", "recorded_ns", "prompt_tokens", "completion_tokens", "total_tokens"}
)


async def by_id(session: AsyncSession, id: str) -> LedgerEntry | None:
    """One entry."""
    found: LedgerEntry | None = await session.scalar(select(LedgerEntry).where(LedgerEntry.id == id))
    return found


async def known_ids(session: AsyncSession, ids: Sequence[str]) -> set[str]:
    """Those of ``ids`` that are in the ledger."""
    known: set[str] = set()
    for start in range(0, len(ids), _ID_BATCH):
        some = ids[start : start + _ID_BATCH]
        known.update(await session.scalars(select(LedgerEntry.id).where(LedgerEntry.id.in_(some))))
    return known


async def by_keys(session: AsyncSession, organization: str, keys: Sequence[str]) -> dict[str, LedgerEntry]:
    """The entries an organisation has under these idempotency keys."""
    found: dict[str, LedgerEntry] = {}
    for start in range(0, len(keys), _ID_BATCH):
        query = select(LedgerEntry).where(
            LedgerEntry.organization == organization,
            LedgerEntry.idempotency_key.in_(keys[start : start + _ID_BATCH]),
        )
        found.update({entry.idempotency_key or "": entry for entry in await session.scalars(query)})
    return found


async def add(session: AsyncSession, rows: Sequence[Mapping[str, Any]], *, are_fit: bool = False) -> None:
    """Add entries, each with every column but ``number``, JSON as Python values. ``are_fit`` is whether no text in them
    holds what a database does not take. Raises IntegrityError for an id that is there.
    """
    if not rows:
        return
    values = [_values(row) for row in rows] if are_fit else [tuple(map(_fit, _values(row))) for row in rows]
    connection = await session.connection()
    await connection.exec_driver_sql(_INSERTS[connection.dialect.name], values)


def _values(row: Mapping[str, Any]) -> tuple[Any, ...]:
    texts = [None if (value := row[name]) is None else _encode(value).decode() for name in _JSON_COLUMNS]
    return (*_plain(row), *texts)


def _fit(value: Any) -> Any:
    return fit(value) if isinstance(value, str) else value


async def page(
    session: AsyncSession,
    wanted: Filter,
    order: Sequence[Sort],
    limit: int,
    after: Sequence[Any] | None,
    offset: int,
    more: Sequence[ColumnElement[bool]] = (),
) -> list[LedgerEntry]:
    """Entries in an order that ends with ``number``, behind the values ``after`` of the last one seen.

    ``more`` are further conditions.
    """
    query = select(LedgerEntry).where(*conditions(wanted), *more)
    if after is not None:
        query = query.where(_behind(order, after))
    query = query.order_by(*(_ordered(sort) for sort in order)).limit(limit).offset(offset)
    return list(await session.scalars(query))


async def count(session: AsyncSession, wanted: Filter, more: Sequence[ColumnElement[bool]] = ()) -> int:
    """How many entries there are."""
    query = select(func.count()).select_from(LedgerEntry).where(*conditions(wanted), *more)
    return await session.scalar(query) or 0


def conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    """A filter over entries as SQL."""
    entry = LedgerEntry
    found: list[ColumnElement[bool]] = []
    if wanted.organization is not None:
        found.append(entry.organization == wanted.organization)
    if wanted.from_ns is not None:
        found.append(entry.started_ns >= wanted.from_ns)
    if wanted.until_ns is not None:
        found.append(entry.started_ns < wanted.until_ns)
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
    found.extend(column.in_(values) for column, values in several if values)
    found.extend(entry.tags[name].as_string() == value for name, value in wanted.tags)
    return found


def sort_key(entry: LedgerEntry, order: Sequence[Sort]) -> tuple[Any, ...]:
    """What :func:`page` takes as ``after`` to go on behind an entry."""
    return tuple(_least(sort) if (value := getattr(entry, sort.field)) is None else value for sort in order)


def _least(sort: Sort) -> Any:
    # Below every value there is: a cost may be negative.
    return -(2**62) if sort.field == "cost_nanos" else ""


def _column(sort: Sort) -> ColumnElement[Any]:
    column: ColumnElement[Any] = getattr(LedgerEntry, sort.field)
    if sort.field in _ORDERED_NUMBERS or sort.field in ("id", "model"):
        return column  # never null, and an index may give the order
    return func.coalesce(column, _least(sort), type_=Integer if sort.field == "cost_nanos" else None)


def _ordered(sort: Sort) -> ColumnElement[Any]:
    column = _column(sort)
    return column.desc() if sort.descending else column.asc()


def _behind(order: Sequence[Sort], after: Sequence[Any]) -> ColumnElement[bool]:
    columns = [_column(sort) for sort in order]
    if len({sort.descending for sort in order}) == 1:
        # Compared as one, so that an index over the columns begins right there.
        ours, theirs = tuple_(*columns), tuple_(*after)
        return ours < theirs if order[0].descending else ours > theirs
    ways = []
    for index, sort in enumerate(order):
        same = [column == value for column, value in zip(columns[:index], after, strict=False)]
        beyond = columns[index] < after[index] if sort.descending else columns[index] > after[index]
        ways.append(and_(*same, beyond))
    return or_(*ways)
