"""The one place where entries come into the ledger: with their sums, in the transaction that adds them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ledger import rollup
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.statements import insert_statements, run
from gateway.domain.turns import take_turn
from gateway.store.base import Base, fit

_JSON_COLUMNS = ("cost_parts", "units", "tags", "attempts", "metadata")
_TABLE = Base.metadata.tables[LedgerEntry.__tablename__]
_EVERY = [column.name for column in _TABLE.columns if column.name != "number"]
_COLUMNS = tuple(name for name in _EVERY if name not in _JSON_COLUMNS)
_plain = itemgetter(*_COLUMNS)
_encode = msgspec.json.Encoder().encode
# Given to the drivers as they are: what SQLAlchemy does with each value of a statement is half of all the work.
_INSERTS = insert_statements(_TABLE, (*_COLUMNS, *_JSON_COLUMNS))

Row: TypeAlias = Mapping[str, Any]
_Prepared: TypeAlias = tuple[list[tuple[Any, ...]], rollup.Added]


async def enter(
    session: AsyncSession, rows: Sequence[Row], *, are_fit: bool = False, done: Callable[[Any], None] | None = None
) -> None:
    """Add entries, each with every column but ``number``, JSON as Python values, and their sums.

    An activity is in no sum. ``are_fit`` is whether no text in them holds what a database does not take. ``done`` is
    called with each row that is not needed any more, before anything is added. Raises IntegrityError for an id that is
    there.
    """
    if not rows:
        return
    if not are_fit:
        rows = [{name: made_fit(value) for name, value in row.items()} for row in rows]
    if len(rows) >= rollup.MANY:
        values, sums = await asyncio.to_thread(_prepared, rows, done)
    else:
        values, sums = _prepared(rows, done)
    await insert(session, values)
    del values
    if sums.count:
        # Everyone adds to some of the same rows, in whatever order they come: one after the other.
        await take_turn(session, "sums")
        await rollup.add(session, sums)


async def insert(session: AsyncSession, values: list[tuple[Any, ...]]) -> None:
    """Add the entries alone, each as :func:`values_of` gives it."""
    connection = await session.connection()
    await run(connection, _INSERTS, values)


def blank() -> dict[str, Any]:
    """A row with every column, None in each."""
    return dict.fromkeys(_EVERY)


def made_fit(value: Any) -> Any:
    """JSON as a database takes it: see :func:`gateway.store.base.fit`."""
    if isinstance(value, str):
        return fit(value)
    if isinstance(value, dict):
        return {fit(name): made_fit(item) for name, item in value.items()}
    return [made_fit(item) for item in value] if isinstance(value, list | tuple) else value


def _prepared(rows: Sequence[Row], done: Callable[[Any], None] | None) -> _Prepared:
    values: list[tuple[Any, ...]] = []

    def each() -> Iterator[Row]:
        for row in rows:
            values.append(values_of(row))
            if row["kind"] != "activity":
                yield row
            if done is not None:
                done(row)

    return values, rollup.added(each())


def values_of(row: Row) -> tuple[Any, ...]:
    """A row as the drivers take it."""
    texts = [None if (value := row[name]) is None else _encode(value).decode() for name in _JSON_COLUMNS]
    return (*_plain(row), *texts)
