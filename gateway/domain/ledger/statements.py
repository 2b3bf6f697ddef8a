"""Statements for many rows at once, as the drivers take them."""

from __future__ import annotations

from collections.abc import Sequence


def insert_statements(table: str, columns: Sequence[str], behind: str = "") -> dict[str, str]:
    """An INSERT with places for ``columns``, by the dialect's name; ``behind`` is what stands behind the values."""
    names = ", ".join(f'"{name}"' for name in columns)
    places = {
        "sqlite": ", ".join("?" * len(columns)),
        "postgresql": ", ".join(f"${number}" for number in range(1, len(columns) + 1)),
    }
    return {
        dialect: f"INSERT INTO {table} ({names}) VALUES ({marks}) {behind}".rstrip()  # noqa: S608 - names of our own
        for dialect, marks in places.items()
    }
