"""Whether the ledger is whole: its sums are those of its entries, the parts of each cost add up to it, and the ids that
were written are in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import add
from typing import Any, get_args

from msgspec import Struct, field
from sqlalchemy import BigInteger, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ledger import repo, totals
from gateway.domain.ledger.model import EntryKind, LedgerEntry, UsageDay
from gateway.domain.ledger.query import Dimension, Filter, Sums
from gateway.domain.ledger.rollup import DAY, SUMS
from gateway.domain.work import Work

NS = 1_000_000_000
TOLD = 20
"""Faults of each kind that are told of; all are counted."""
_PAGE = 2_000
_BY: tuple[Dimension, ...] = ("organization", "provider", "model", "credential", "user", "outcome")
_KINDS: tuple[str, ...] = get_args(EntryKind)


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
    for day in await _days(session, found.from_ns):
        found.days += 1
        await _verify_day(session, found, day)
    await _verify_parts(session, found)
    return found


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
    of_entries = {int(number) * DAY for number in await session.scalars(select(day).distinct())}
    of_sums = set(await session.scalars(select(UsageDay.start).where(UsageDay.start >= first).distinct()))
    return sorted(of_entries | of_sums)


async def _verify_day(session: AsyncSession, found: Verified, day: int) -> None:
    begin, end = day * NS, (day + DAY) * NS
    kept = await totals.sums(session, Filter(from_ns=begin, until_ns=end), _BY, "hour")
    real = await totals.sums(session, Filter(from_ns=begin, until_ns=end, kinds=_KINDS), _BY, "hour")
    _compare(found, kept, real, "hour")
    days = await totals.sums(session, Filter(from_ns=begin, until_ns=end), _BY, "day")
    _compare(found, days, _added(kept, day), "day")
    for row in real:
        found.cost_nanos += row.cost_nanos
        found.unpriced += row.unpriced


def _added(hours: Iterable[Sums], day: int) -> list[Sums]:
    added: dict[tuple[str, ...], list[int]] = {}
    for row in hours:
        before = added.get(row.group)
        added[row.group] = _numbers(row) if before is None else list(map(add, before, _numbers(row)))
    rows = [Sums(group=group, start=day, **dict(zip(SUMS, values, strict=True))) for group, values in added.items()]
    return [row for row in rows if any(_numbers(row))]


def _numbers(row: Sums) -> list[int]:
    return [getattr(row, name) for name in SUMS]


def _compare(found: Verified, kept: Iterable[Sums], real: Iterable[Sums], bucket: str) -> None:
    ours: dict[Any, Sums] = {(row.start, row.group): row for row in kept}
    theirs: dict[Any, Sums] = {(row.start, row.group): row for row in real}
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            start, group = key
            found.fault("sums_differ", f"{bucket} {start} of {', '.join(group)}")


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
