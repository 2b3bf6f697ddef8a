"""The sums over hours and days, kept in the transaction that adds the entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import add as add_up
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ledger.statements import insert_statements
from gateway.store.base import fit

HOUR = 3_600
DAY = 86_400
TABLES = {HOUR: "usage_hours", DAY: "usage_days"}
KEYS = ("organization", "start", "provider", "model", "credential", "user", "outcome")
SUMS = (
    "requests", "prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens",
    "cost_nanos", "saved_nanos", "unpriced", "estimated", "streamed", "duration_ms", "first_token_ms", "first_tokens",
)  # fmt: skip

_Key = tuple[Any, ...]


def _upserts(table: str) -> dict[str, str]:
    keys = ", ".join(f'"{name}"' for name in KEYS)
    sums = ", ".join(f'"{name}" = {table}."{name}" + excluded."{name}"' for name in SUMS)
    return insert_statements(table, (*KEYS, *SUMS), f"ON CONFLICT ({keys}) DO UPDATE SET {sums}")


_UPSERTS = {size: _upserts(table) for size, table in TABLES.items()}


def summed(rows: Iterable[Mapping[str, Any]]) -> dict[_Key, list[int]]:
    """Entries (as for :func:`gateway.domain.ledger.repo.add`) summed by :data:`KEYS`, ``start`` being the hour."""
    sums: dict[_Key, list[int]] = {}
    for row in rows:
        started = row["started_ns"] // 1_000_000_000
        key = (
            row["organization"], started - started % HOUR, row["provider"] or "", row["model"],
            row["credential"] or "", row["user"] or "", row["outcome"],
        )  # fmt: skip
        requests, cost, first = row["requests"], row["cost_nanos"], row["first_token_ms"]
        numbers = [
            requests, row["prompt_tokens"], row["cached_tokens"], row["cache_write_tokens"], row["completion_tokens"],
            row["reasoning_tokens"], cost or 0, row["saved_nanos"], requests if cost is None else 0,
            requests if row["estimated"] else 0, requests if row["stream"] else 0,
            requests * ((row["ended_ns"] - row["started_ns"]) // 1_000_000),
            0 if first is None else requests * first, 0 if first is None else requests,
        ]  # fmt: skip
        before = sums.get(key)
        sums[key] = numbers if before is None else list(map(add_up, before, numbers))
    return sums


def by_day(hours: Mapping[_Key, list[int]]) -> dict[_Key, list[int]]:
    """Sums of hours added up to days."""
    days: dict[_Key, list[int]] = {}
    for key, numbers in hours.items():
        day = (key[0], key[1] - key[1] % DAY, *key[2:])
        found = days.get(day)
        days[day] = numbers if found is None else list(map(add_up, found, numbers))
    return days


async def add(session: AsyncSession, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add entries to the sums of their hours and days."""
    hours = summed(rows)
    connection = await session.connection()
    for size, sums in ((HOUR, hours), (DAY, by_day(hours))):
        if sums:
            # In one order everywhere: two writers that meet wait for each other instead of blocking each other.
            values = [(*map(_fit, key), *sums[key]) for key in sorted(sums)]
            await connection.exec_driver_sql(_UPSERTS[size][connection.dialect.name], values)


def _fit(value: Any) -> Any:
    return fit(value) if isinstance(value, str) else value
