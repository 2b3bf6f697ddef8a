"""New rows of a table, entries of the ledger or notices, each once, in the order in which they can be seen.

Rows are numbered. SQLite has one writer at a time, so their numbers are seen in their order. With PostgreSQL a
transaction that began earlier may commit later: numbers that were passed over are looked for until every transaction
that may have taken them is over. That works over any number of processes that write and read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct
from sqlalchemy import BigInteger, any_, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.alerts.model import Notice
from gateway.domain.ledger.model import LedgerEntry
from gateway.store.engine import Store

PAGE = 30  # rows read at once: what is noted with each may have kilobytes
LOOK_BACK = 2_000  # numbers before the last one in which transactions may be under way when someone begins to listen
MOST_MISSING = 20_000  # numbers
# A transaction takes a number an instant before it is one of those that are told to be under way.
_GRACE = 1.0  # seconds
_IDS = 100  # rows loaded by one statement
_SNAPSHOT = text(
    "SELECT CAST(CAST(pg_snapshot_xmin(now) AS text) AS bigint), CAST(CAST(pg_snapshot_xmax(now) AS text) AS bigint) "
    "FROM pg_current_snapshot() AS now"
)


class _Passed(Struct, frozen=True):
    """When a number was passed over: the first transaction id that could not have it any more, and the time."""

    until: int
    at: float


Row = TypeVar("Row", LedgerEntry, Notice)
_Seen: TypeAlias = tuple[int, str]
"""A number, and whose it is."""


class Tail(Generic[Row]):
    """Reads on from where :meth:`begin` was called. ``wanted`` says of an organisation whether its rows are."""

    def __init__(self, store: Store, table: type[Row]) -> None:
        self._store = store
        self._table: type[Row] = table
        self._last = 0
        self._missing: dict[int, _Passed] = {}

    async def begin(self) -> None:
        """Go to the end: what is entered from now on is new."""
        async with self._store.reading() as session:
            self._last, self._missing = await self._end(session), {}
            if not self._store.is_sqlite:
                first = max(0, self._last - LOOK_BACK)
                number = self._table.number
                seen = await session.scalars(select(number).where(number > first, number <= self._last))
                _, until = await _snapshot(session)
                self._pass_over(first, seen, until)

    async def next(self, wanted: Callable[[str], bool]) -> tuple[list[Row], bool]:
        """The rows that came, in order; and whether there are more of them to be read at once."""
        before = self._last, dict(self._missing)
        try:
            return await self._next(wanted)
        except BaseException:
            self._last, self._missing = before
            raise

    async def _next(self, wanted: Callable[[str], bool]) -> tuple[list[Row], bool]:
        number, organization = self._table.number, self._table.organization
        async with self._store.reading() as session:
            query = select(number, organization).where(number > self._last).order_by(number).limit(PAGE)
            rows: list[_Seen] = [(row[0], row[1]) for row in await session.execute(query)]
            late: list[_Seen] = [] if self._store.is_sqlite else await self._late(session, [row[0] for row in rows])
            if rows:
                self._last = rows[-1][0]
            else:
                # A database that was put back has numbers that were told before.
                self._last = min(self._last, await self._end(session))
            chosen = [row[0] for row in (*late, *rows) if wanted(row[1])]
            return await _rows(session, self._table, chosen), len(rows) == PAGE

    async def _late(self, session: AsyncSession, numbers: list[int]) -> list[_Seen]:
        """Rows whose numbers were passed over before; and note which are passed over now."""
        over, until = await _snapshot(session)
        found: list[_Seen] = []
        if self._missing:
            looked = bindparam("numbers", sorted(self._missing), type_=ARRAY(BigInteger))
            number, organization = self._table.number, self._table.organization
            query = select(number, organization).where(number == any_(looked)).order_by(number)
            found = [(row[0], row[1]) for row in await session.execute(query)]
            for seen, _ in found:
                del self._missing[seen]
            old = time.monotonic() - _GRACE
            # Who might have had it has ended, and it is not there: it never will be.
            for passed_over in [n for n, passed in self._missing.items() if passed.until <= over and passed.at < old]:
                del self._missing[passed_over]
        if numbers:
            first, self._last = self._last, numbers[-1]
            self._pass_over(first, numbers, until)
        return found

    async def _end(self, session: AsyncSession) -> int:
        return await session.scalar(select(func.max(self._table.number))) or 0

    def _pass_over(self, first: int, seen: Iterable[int], until: int) -> None:
        passed = _Passed(until, time.monotonic())
        # Whoever sets a sequence may leave out any number of them.
        fresh = set(range(max(first + 1, self._last - MOST_MISSING + 1), self._last + 1)).difference(seen)
        self._missing |= dict.fromkeys(sorted(fresh), passed)
        for number in list(self._missing)[: max(0, len(self._missing) - MOST_MISSING)]:
            del self._missing[number]


async def _snapshot(session: AsyncSession) -> tuple[int, int]:
    """The id before which every transaction is over, and the one that none has yet."""
    over, until = (await session.execute(_SNAPSHOT)).one()
    return over, until


async def _rows(session: AsyncSession, table: type[Row], numbers: list[int]) -> list[Row]:
    found: dict[int, Row] = {}
    for start in range(0, len(numbers), _IDS):
        some = select(table).where(table.number.in_(numbers[start : start + _IDS]))
        found |= {row.number: row for row in await session.scalars(some)}
    return [found[number] for number in numbers if number in found]
