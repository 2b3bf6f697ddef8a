"""The sums over hours, days and weeks, kept in the transaction that adds the entries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from operator import add as add_up
from operator import itemgetter
from typing import Any, TypeAlias

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ledger.levels import (
    CALLERS,
    EVERY,
    HOUR,
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
_ALWAYS = (SUMS.index("requests"), SUMS.index("entries"))
MANY = 100
"""Entries; fewer are not worth a thread."""
_STATEMENTS = 256  # there are fifteen tables, and few kinds of batches


class Added(Struct, frozen=True):
    """What entries add to the sums of hours, by all there is and by tag: those named by ``names``, the others are 0.

    ``count`` is how many entries there are.
    """

    names: tuple[str, ...]
    every: Summed
    tagged: Summed
    count: int

    def tables(self) -> Iterator[tuple[Level, int, list[tuple[Any, ...]]]]:
        """The rows of one table after the other; only those of one need be held."""
        for (level, size), sums in _levels(self.every, self.tagged):
            yield level, size, rows_of(sums)


@lru_cache(_STATEMENTS)
def upserts(level: Level, size: int, names: tuple[str, ...]) -> dict[str, str]:
    """The statement that adds to those sums that are named, or begins all of them, by the dialect's name."""
    table = level.table(size)
    quoted = ", ".join(f'"{name}"' for name in level.keys)
    sums = ", ".join(f'"{name}" = {table.name}."{name}" + excluded."{name}"' for name in names)
    behind = f"ON CONFLICT ({quoted}) DO UPDATE SET {sums}"
    zeros = [name for name in SUMS if name not in names]
    return insert_statements(table, (*level.keys, *names), behind, zeros=zeros)


def added(rows: Iterable[Mapping[str, Any]]) -> Added:
    """What entries (as for :func:`gateway.domain.ledger.entering.enter`) add; each is looked at once, in order."""
    every: Summed = {}
    tagged: Summed = {}
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 - it is told afterwards
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
    # Most requests have none of some numbers: what is 0 everywhere need be neither added up nor told.
    columns = zip(*every.values(), *tagged.values(), strict=True)
    told = [at for at, column in enumerate(columns) if at in _ALWAYS or any(column)]
    # In order already, so that the rows of the tables are nearly so, and take little to sort.
    short = itemgetter(*told) if told else tuple
    every, tagged = ({key: short(found[key]) for key in sorted(found)} for found in (every, tagged))
    return Added(tuple(SUMS[at] for at in told), every, tagged, count)


def levelled(every: Summed, tagged: Summed) -> dict[tuple[Level, int], Summed]:
    """The sums of every table from those of hours, told apart by all there is (:data:`.levels.EVERY`) and by tag."""
    return dict(_levels(every, tagged))


def _levels(every: Summed, tagged: Summed) -> Iterator[tuple[tuple[Level, int], Summed]]:
    hours = {EVERY: every, OWN_TAGS: tagged}
    sources = dict(SOURCES)
    for level in (EVERY, OWN_TAGS, *sources):
        if level in sources:
            hours[level] = projected(hours[sources[level]], _KEPT[level])
        sums = hours[level]
        for size in level.sizes:
            sums = sums if size == HOUR else added_up(level, sums, size)
            yield (level, size), sums


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


async def add(session: AsyncSession, more: Added) -> None:
    """Add to the sums of every table."""
    connection = await session.connection()
    tables = more.tables()
    while True:
        # The rows of one table take milliseconds where there are thousands of entries.
        found = await asyncio.to_thread(next, tables, None) if more.count >= MANY else next(tables, None)
        if found is None:
            return
        level, size, rows = found
        await run(connection, upserts(level, size, more.names), rows)


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
