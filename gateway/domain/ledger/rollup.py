"""The sums over hours, days and weeks, kept in the transaction that adds the entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add as add_up
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ledger.levels import (
    CALLERS,
    EVERY,
    HOUR,
    LEVELS,
    MODELS,
    ORGANIZATIONS,
    OWN_MODELS,
    OWN_TAGS,
    SUMS,
    TAGS,
    Level,
    beginning,
)
from gateway.domain.ledger.statements import insert_statements, run
from gateway.domain.ledger.tags import spelt

Key: TypeAlias = tuple[Any, ...]
Numbers: TypeAlias = tuple[int, ...]
Summed: TypeAlias = dict[Key, Numbers]

SOURCES = ((OWN_MODELS, EVERY), (CALLERS, EVERY), (ORGANIZATIONS, OWN_MODELS), (MODELS, OWN_MODELS), (TAGS, OWN_TAGS))
_Kept: TypeAlias = Callable[[Key], Key]
_KEPT: dict[Level, _Kept] = {
    level: itemgetter(*(source.keys.index(name) for name in level.keys)) for level, source in SOURCES
}


def upserts(table: Table, keys: Iterable[str]) -> dict[str, str]:
    """The statement that adds to sums, or begins them, by the dialect's name."""
    quoted = ", ".join(f'"{name}"' for name in keys)
    sums = ", ".join(f'"{name}" = {table.name}."{name}" + excluded."{name}"' for name in SUMS)
    return insert_statements(table, (*keys, *SUMS), f"ON CONFLICT ({quoted}) DO UPDATE SET {sums}")


_UPSERTS = {
    (level, size): upserts(level.table(size), level.keys) for level in LEVELS for size in level.sizes
}  # fmt: skip


def summed(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[Level, int], Summed]:
    """Entries (as for :func:`gateway.domain.ledger.entering.enter`) summed for every table, by its keys."""
    every: Summed = {}
    tagged: Summed = {}
    for row in rows:
        started = row["started_ns"] // 1_000_000_000
        start = started - started % HOUR
        organization, provider, model = row["organization"], row["provider"] or "", row["model"]
        numbers = _numbers(row)
        key: Key = (
            organization, start, provider, model, row["credential"] or "", row["user"] or "", row["outcome"],
        )  # fmt: skip
        before = every.get(key)
        every[key] = numbers if before is None else (*map(add_up, before, numbers),)
        for tag in spelt(row["tags"]):
            key = (organization, start, tag, provider, model)
            before = tagged.get(key)
            tagged[key] = numbers if before is None else (*map(add_up, before, numbers),)
    return levelled(every, tagged)


def levelled(every: Summed, tagged: Summed) -> dict[tuple[Level, int], Summed]:
    """The sums of every table from those of hours, told apart by all there is (:data:`.levels.EVERY`) and by tag."""
    hours = {EVERY: every, OWN_TAGS: tagged}
    for level, source in SOURCES:
        hours[level] = projected(hours[source], _KEPT[level])
    found: dict[tuple[Level, int], Summed] = {}
    for level in LEVELS:
        sums = hours[level]
        for size in level.sizes:
            found[level, size] = sums = sums if size == HOUR else added_up(level, sums, size)
    return found


def projected(sums: Mapping[Key, Numbers], kept: _Kept) -> Summed:
    """The same by fewer keys, or by others."""
    found: Summed = {}
    for key, numbers in sums.items():
        short = kept(key)
        before = found.get(short)
        found[short] = numbers if before is None else (*map(add_up, before, numbers),)
    return found


def added_up(level: Level, sums: Mapping[Key, Numbers], size: int) -> Summed:
    """Sums over shorter times added up to buckets of ``size`` seconds."""
    at = level.keys.index("start")
    starts = {key[at] for key in sums}
    if len(starts) == 1:  # what is entered as it happens
        begun = (beginning(starts.pop(), size),)
        return {key[:at] + begun + key[at + 1 :]: numbers for key, numbers in sums.items()}
    return projected(sums, lambda key: (*key[:at], beginning(key[at], size), *key[at + 1 :]))


def keys_kept(level: Level, names: Iterable[str]) -> _Kept:
    """What makes a key of ``level`` from values in the order of ``names``."""
    order = list(names)
    return itemgetter(*(order.index(name) for name in level.keys))


async def add(session: AsyncSession, sums: Mapping[tuple[Level, int], Sequence[tuple[Any, ...]]]) -> None:
    """Add to the sums of every table, by rows that :func:`rows_of` gave."""
    connection = await session.connection()
    for place, rows in sums.items():
        if rows:
            await run(connection, _UPSERTS[place], rows)


def rows_of(sums: Mapping[Key, Numbers]) -> list[tuple[Any, ...]]:
    """Sums as the drivers take them, in the order that the tables have."""
    return sorted([key + numbers for key, numbers in sums.items()])


def _numbers(row: Mapping[str, Any]) -> Numbers:
    requests, cost, first = row["requests"], row["cost_nanos"], row["first_token_ms"]
    return (
        requests, row["prompt_tokens"], row["cached_tokens"], row["cache_write_tokens"], row["completion_tokens"],
        row["reasoning_tokens"], cost or 0, row["saved_nanos"], requests if cost is None else 0,
        requests if row["estimated"] else 0, requests if row["stream"] else 0,
        requests * ((row["ended_ns"] - row["started_ns"]) // 1_000_000),
        0 if first is None else requests * first, 0 if first is None else requests, 1,
    )  # fmt: skip
