"""Statements for many rows at once, as the drivers take them.

SQLite is given row by row. PostgreSQL is given all rows by one statement, a list for each column: what it does for a
statement, and what the driver does for a row, is several times what an added row costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import JSON, Boolean, Float, Integer, Table
from sqlalchemy.ext.asyncio import AsyncConnection


def insert_statements(
    table: Table, columns: Sequence[str], behind: str = "", *, zeros: Sequence[str] = ()
) -> dict[str, str]:
    """An INSERT of ``columns`` for :func:`run`, by the dialect's name; ``behind`` is what stands behind the values.

    ``zeros`` are columns that are 0 in every row, and for which none is given.
    """
    names = ", ".join(f'"{name}"' for name in columns)
    inserted = ", ".join(f'"{name}"' for name in (*columns, *zeros))
    nothing = ", 0" * len(zeros)
    lists = ", ".join(f"${number}::{_type(table, name)}[]" for number, name in enumerate(columns, 1))
    values = ", ".join(f'"{name}"{_cast(table, name)}' for name in columns)
    sources = {
        "sqlite": f"VALUES ({', '.join('?' * len(columns))}{nothing})",
        "postgresql": f"SELECT {values}{nothing} FROM unnest({lists}) AS given ({names})",  # noqa: S608 - names of our own
    }
    into = f"INSERT INTO {table.name} ({inserted})"
    return {dialect: f"{into} {source} {behind}".rstrip() for dialect, source in sources.items()}


async def run(connection: AsyncConnection, statements: dict[str, str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Run one of :func:`insert_statements` with rows, of which there is at least one."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        await connection.exec_driver_sql(statements[dialect], tuple(map(list, zip(*rows, strict=True))))
    else:
        await connection.exec_driver_sql(statements[dialect], list(rows))


def _type(table: Table, column: str) -> str:
    kind = table.c[column].type
    names = ((Integer, "int8"), (Boolean, "bool"), (Float, "float8"))
    return next((name for each, name in names if isinstance(kind, each)), "text")


def _cast(table: Table, column: str) -> str:
    return "::json" if isinstance(table.c[column].type, JSON) else ""
