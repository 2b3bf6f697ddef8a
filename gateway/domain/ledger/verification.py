"""Whether the ledger is whole: its sums are those of its entries, the parts of each cost add up to it, and the ids that
were written are in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import add as add_up
from typing import Any

from msgspec import Struct, field
from sqlalchemy import BigInteger, ColumnElement, Select, func, literal_column, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ledger import repo, rollup, tags, totals
from gateway.domain.ledger.levels import DAY, EVERY, LEVELS, OWN_TAGS, SIZES, SUMS, TABLES, WEEK, Level, beginning
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.query import Dimension, Filter
from gateway.domain.work import Work

NS = 1_000_000_000
TOLD = 20
"""Faults of each kind that are told of; all are counted."""
_PAGE = 2_000
_BY: tuple[Dimension, ...] = ("organization", "provider", "model", "credential", "user", "outcome")
_BY_TAG: tuple[Dimension, ...] = ("organization", "provider", "model")


class Fault(Struct, frozen=True):
    """Something that is not as it must be: ``sums_differ``, ``parts_differ`` or ``missing``, and where."""

    kind: str
    where: str


class Verified(Struct):
    """What was looked at and what is wrong.

    ``written`` counts the ids that were compared with the ledger. ``from_ns`` is when the first entry began: of what
    was before it, only the sums are kept.
    """

    entries: int = 0
    days: int = 0
    written: int = 0
    from_ns: int | None = None
    cost_nanos: int = 0
    unpriced: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts

    def fault(self, kind: str, where: str) -> None:
        """Count a fault, and tell of it while there are few."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= TOLD:
            self.faults.append(Fault(kind, where))


async def verify(work: Work) -> Verified:
    """Add up every entry and compare. All of it as of one moment, a day at a time: call it in a work that reads."""
    session, found = work.session, Verified()
    found.from_ns = await session.scalar(select(func.min(LedgerEntry.started_ns)))
    weeks = _Weeks(session, found)
    for day in await _days(session, found.from_ns):
        found.days += 1
        await weeks.reach(day)
        weeks.add(await _verify_day(session, found, day))
    await weeks.end()
    await _verify_parts(session, found)
    return found


class _Weeks:
    """Compares the sums of weeks, when all days of each have been added."""

    def __init__(self, session: AsyncSession, found: Verified) -> None:
        self._session = session
        self._found = found
        self._week: int | None = None
        self._sums: dict[Level, rollup.Summed] = {}

    async def reach(self, day: int) -> None:
        """Go on to a day. Of those before the first one no entries are kept, but their sums."""
        week, is_first = beginning(day, WEEK), self._week is None
        if week != self._week:
            await self.end()
            self._week, self._sums = week, {level: {} for level in LEVELS if WEEK in level.sizes}
        for level, sums in self._sums.items() if is_first else ():
            table = level.table(DAY)
            gone = await _read_sums(self._session, level, DAY, table.c.start >= week, table.c.start < day)
            _add(sums, rollup.added_up(level, gone, WEEK))

    def add(self, sums: Mapping[Level, rollup.Summed]) -> None:
        """Add the sums of a day, by the beginning of its week."""
        for level, more in sums.items():
            _add(self._sums[level], more)

    async def end(self) -> None:
        """Compare the week that was reached."""
        for level, sums in self._sums.items():
            kept = await _read_sums(self._session, level, WEEK, level.table(WEEK).c.start == self._week)
            _compare(self._found, level, WEEK, kept, {key: numbers for key, numbers in sums.items() if any(numbers)})


async def verify_written(session: AsyncSession, found: Verified, ids: Sequence[str]) -> None:
    """Look for ids of events that must be in the ledger; a few hundred at once."""
    known = await repo.known_ids(session, ids)
    found.written += len(ids)
    for id in ids:
        if id not in known:
            found.fault("missing", id)


async def _days(session: AsyncSession, first_ns: int | None) -> list[int]:
    """The days that have entries, or sums where entries are kept, in Unix seconds."""
    if first_ns is None:
        return []
    day = LedgerEntry.started_ns // literal_column(str(DAY * NS), BigInteger)
    first = first_ns // NS // DAY * DAY
    found = {int(number) * DAY for number in await session.scalars(select(day).distinct())}
    for table in TABLES.values():
        starts = await session.scalars(select(table.c.start).where(table.c.start >= first).distinct())
        found |= {start - start % DAY for start in starts}
    return sorted(found)


async def _verify_day(session: AsyncSession, found: Verified, day: int) -> dict[Level, rollup.Summed]:
    """Compare a day and its hours; gives what it adds to weeks."""
    within = Filter(from_ns=day * NS, until_ns=(day + DAY) * NS)
    query = totals.of_entries(within, totals.columns_of(_BY), "hour", SUMS)
    real = rollup.projected(await _read(session, query, len(_BY) + 1), rollup.keys_kept(EVERY, (*_BY, "start")))
    hours = rollup.levelled(real, await _tagged(session, within))
    for (level, size), sums in hours.items():
        if size != WEEK:
            start = level.table(size).c.start
            _compare(found, level, size, await _read_sums(session, level, size, start >= day, start < day + DAY), sums)
    for numbers in real.values():
        found.cost_nanos += numbers[SUMS.index("cost_nanos")]
        found.unpriced += numbers[SUMS.index("unpriced")]
    return {level: sums for (level, size), sums in hours.items() if size == WEEK}


async def _tagged(session: AsyncSession, within: Filter) -> rollup.Summed:
    tag = tags.rows_of(is_sqlite=session.get_bind().dialect.name == "sqlite")
    query = totals.of_entries(within, [*totals.columns_of(_BY_TAG), tags.spelt_in(tag)], "hour", SUMS)
    query = query.select_from(LedgerEntry.__table__.outerjoin(tag, true()))
    names = (*_BY_TAG, "tag", "start")
    return rollup.projected(await _read(session, query, len(names)), rollup.keys_kept(OWN_TAGS, names))


async def _read_sums(session: AsyncSession, level: Level, size: int, *within: ColumnElement[bool]) -> rollup.Summed:
    table = level.table(size)
    query = select(*(table.c[name] for name in (*level.keys, *SUMS))).where(*within)
    return await _read(session, query, len(level.keys))


async def _read(session: AsyncSession, query: Select[Any], width: int) -> rollup.Summed:
    """Rows of ``width`` columns of a key, then numbers; without those that are 0 altogether."""
    rows = await session.execute(query)
    found = {tuple(row[:width]): tuple(map(int, row[width:])) for row in rows}
    return {key: numbers for key, numbers in found.items() if any(numbers)}


def _add(sums: rollup.Summed, more: rollup.Summed) -> None:
    for key, numbers in more.items():
        before = sums.get(key)
        sums[key] = numbers if before is None else (*map(add_up, before, numbers),)


def _compare(found: Verified, level: Level, size: int, kept: rollup.Summed, real: rollup.Summed) -> None:
    at, bucket = level.keys.index("start"), SIZES[size].removesuffix("s")
    for key in sorted(kept.keys() | real.keys()):
        if kept.get(key) != real.get(key):
            named = ", ".join(str(part) for part in (*key[:at], *key[at + 1 :]))
            found.fault("sums_differ", f"{bucket} {key[at]} of {named} in {level.table_name(size)}")


async def _verify_parts(session: AsyncSession, found: Verified) -> None:
    entry, after = LedgerEntry, 0
    while True:
        query = select(entry.number, entry.id, entry.cost_nanos, entry.cost_parts).where(entry.number > after)
        rows = (await session.execute(query.order_by(entry.number).limit(_PAGE))).all()
        for row in rows:
            if row.cost_parts is not None and sum(row.cost_parts.values()) != row.cost_nanos:
                found.fault("parts_differ", row.id)
        found.entries += len(rows)
        if len(rows) < _PAGE:
            return
        after = rows[-1].number
