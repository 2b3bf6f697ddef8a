"""Reading entries. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

from msgspec import json
from sqlalchemy import Boolean, ColumnElement, Integer, and_, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.query import Filter, Sort

Steered: TypeAlias = Literal["nothing", "values", "everything"]


_KNOWN_IDS = {
    "sqlite": "SELECT id FROM ledger_entries WHERE id IN (SELECT value FROM json_each(?))",
    "postgresql": "SELECT id FROM ledger_entries WHERE id = ANY ($1)",
}
_APPS = {
    "sqlite": "SELECT id, app_id FROM credentials WHERE app_id IS NOT NULL AND id IN (SELECT value FROM json_each(?))",
    "postgresql": "SELECT id, app_id FROM credentials WHERE app_id IS NOT NULL AND id = ANY ($1)",
}
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
    return {id for (id,) in await _each_of(session, _KNOWN_IDS, ids)}


async def apps_of(session: AsyncSession, credentials: Sequence[str]) -> dict[str, str]:
    """The apps that credentials belong to, by the credentials' ids; most belong to none."""
    return dict(await _each_of(session, _APPS, credentials))


async def _each_of(
    session: AsyncSession, statements: dict[str, str], values: Sequence[str]
) -> Sequence[tuple[Any, ...]]:
    if not values:
        return []
    connection = await session.connection()
    dialect = connection.dialect.name
    # One parameter for all: thousands cost more than looking the values up.
    told = json.encode(values).decode() if dialect == "sqlite" else list(values)
    return [tuple(row) for row in await connection.exec_driver_sql(statements[dialect], (told,))]


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


async def page(
    session: AsyncSession,
    wanted: Filter,
    order: Sequence[Sort],
    limit: int,
    after: Sequence[Any] | None = None,
    offset: int = 0,
    more: Sequence[ColumnElement[bool]] = (),
) -> list[LedgerEntry]:
    """Entries in an order that ends with ``number``, behind the values ``after`` of the last one seen.

    ``more`` are further conditions.
    """
    # Their numbers first: an index that has all that is asked for tells them, and the others are never read.
    chosen = select(LedgerEntry.number).where(*conditions(wanted), *more)
    if after is not None:
        chosen = chosen.where(_behind(order, after))
    ordered = [_ordered(sort) for sort in order]
    chosen = chosen.order_by(*ordered).limit(limit).offset(offset)
    query = select(LedgerEntry).where(LedgerEntry.number.in_(chosen)).order_by(*ordered)
    return list(await session.scalars(query))


async def count(session: AsyncSession, wanted: Filter, more: Sequence[ColumnElement[bool]] = ()) -> int:
    """How many entries there are."""
    query = select(func.count()).select_from(LedgerEntry).where(*conditions(wanted), *more)
    return await session.scalar(query) or 0


def conditions(wanted: Filter, *, steered: Steered = "nothing") -> list[ColumnElement[bool]]:
    """A filter over entries as SQL, with what is ``steered`` put so that no index is chosen for it.

    SQLite, which knows no statistics, takes the index on a provider for a good one, and then sorts all it finds.
    PostgreSQL chooses by what the tables hold.
    """
    return [*_of_time(wanted, hidden=steered == "everything"), *_of_values(wanted, hidden=steered != "nothing")]


def _of_time(wanted: Filter, *, hidden: bool) -> Iterator[ColumnElement[bool]]:
    started: Any = _Hidden(LedgerEntry.started_ns) if hidden else LedgerEntry.started_ns
    if wanted.organization is not None:
        yield (_Hidden(LedgerEntry.organization) if hidden else LedgerEntry.organization) == wanted.organization
    if wanted.from_ns is not None:
        yield started >= wanted.from_ns
    if wanted.until_ns is not None:
        yield started < wanted.until_ns


def _of_values(wanted: Filter, *, hidden: bool) -> Iterator[ColumnElement[bool]]:
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
    for column, values in several:
        if values:
            yield (_Hidden(column) if hidden else column).in_(values)
    for name, value in wanted.tags:
        yield entry.tags[name].as_string() == value


class _Hidden(FunctionElement[Any]):
    """A column that SQLite looks for in no index."""

    inherit_cache = True
    name = "hidden"

    def __init__(self, column: Any) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(_Hidden)
def _plain(element: _Hidden, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_Hidden, "sqlite")
def _out_of_reach(element: _Hidden, compiler: SQLCompiler, **options: Any) -> str:
    return f"coalesce({compiler.process(element.clauses, **options)}, '')"


class _Whole(FunctionElement[bool]):
    """True of every entry; but PostgreSQL must look at the entry to know it."""

    inherit_cache = True
    name = "whole"
    type = Boolean()


@compiles(_Whole)
def _true(element: _Whole, compiler: SQLCompiler, **options: Any) -> str:
    return "1 = 1"


@compiles(_Whole, "postgresql")
def _looked_at(element: _Whole, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.clauses, **options)} >= 0"


def from_entries_alone() -> ColumnElement[bool]:
    """A condition that keeps PostgreSQL from answering out of the index of organisations for all of them.

    That index has all that is filtered by, but a piece of time lies in it once for each organisation; entries lie
    together as they came.
    """
    return _Whole(LedgerEntry.recorded_ns)


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
