"""Watching what organisations spend. Of several sidecars one does it; what is noticed is raised once by whichever.

Nothing here reads entries of the ledger: budgets are held against the sums of days and weeks, and only where those of
the last two days have moved, or a budget has; once an hour all are, for what was entered or corrected of days before.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.alerts import budgets, daily, repo
from gateway.domain.alerts.budgets import Watched
from gateway.domain.alerts.repo import New
from gateway.domain.analytics.periods import to_ns
from gateway.domain.forecasts import forecast, series
from gateway.domain.ledger.levels import DAY, ORGANIZATIONS
from gateway.kernel.ids import new_id
from gateway.store.engine import Store

HOLD: Final = 60
"""Seconds after which another sidecar watches in the place of one that says nothing."""
ALL: Final = 3_600
"""Seconds after which all budgets are looked at, whether or not anything moved."""
PAUSE: Final = 0.02
"""Seconds between two organisations of the daily work: whoever else reads and writes goes first."""
_NAME: Final = "notices"
_AT_ONCE: Final = 20  # organisations whose notices are raised in one transaction
_SLICE: Final = 100  # organisations until budgets are looked at again
_MOST: Final = 10_000  # organisations that are remembered to have been asked for today
_SECOND: Final = 1_000_000_000

_Moved: TypeAlias = dict[str, int]
"""By organisation how many entries its last days have, those included that take others back."""


def _never() -> bool:
    return False


class Notices:
    """Notices of one store. ``configured`` gives the budgets of ``gateway.yaml``, each time it is asked."""

    def __init__(
        self,
        store: Store,
        configured: Callable[[], Sequence[Watched]] = tuple,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.raised: Counter[str] = Counter()
        """Notices that were raised here since the start, by event."""
        self._store = store
        self._configured = configured
        self._clock = clock
        self._holder = new_id("watch")
        self._held_until = 0
        self._seen: _Moved = {}
        self._version: tuple[Any, ...] = ()
        self._all_at = 0.0
        self._day: date | None = None
        self._waiting: list[str] | None = None
        self._asked: tuple[date | None, set[str]] = None, set()

    async def watch(self, stopping: Callable[[], bool] = _never) -> float:
        """Raise what there is to be noticed now, unless another sidecar does; ends early where ``stopping`` says so.

        Gives the seconds that looking at budgets took. Of the work of a day some is done each time.
        """
        now = self._clock()
        moved, version = await self._look(now)
        is_all = version != self._version or now.timestamp() - self._all_at >= ALL
        found = {id for id, entries in moved.items() if self._seen.get(id) != entries}
        day = daily.today(now)
        has_budgets = bool(version[0] or version[-1])
        if day == self._day and not (has_budgets and (is_all or found)):
            self._seen = moved
            return 0.0
        if not await self._take(now):
            # Whoever takes it over looks at everything.
            self._seen, self._version, self._all_at, self._day, self._waiting = {}, (), 0.0, None, None
            return 0.0
        began = time.monotonic()
        if has_budgets:
            await self._look_at_budgets(None if is_all else found, now, stopping)
        took = time.monotonic() - began
        if is_all:
            self._version, self._all_at = version, now.timestamp()
        self._seen = moved
        if day != self._day and await self._look_at_day(day, stopping):
            await repo.forget(self._store, to_ns(now))
            self._day, self._waiting = day, None
        return took

    async def forecast_today(self, organization: str) -> None:
        """Have the forecast of today raised, where there is none yet and the days before are enough."""
        day = daily.today(self._clock())
        if self._asked[0] != day or len(self._asked[1]) >= _MOST:
            self._asked = day, set()
        asked = self._asked[1]
        if organization in asked:
            return
        async with self._store.reading() as session:
            known = await repo.known(session, [daily.forecast_key(organization, day)])
            days = None if known else await series.daily(session, organization, day, forecast.HISTORY)
        if days is not None:
            found = await asyncio.to_thread(daily.forecast_of, days, organization, day)
            await self._raise([] if found is None else [found])
        asked.add(organization)

    async def close(self) -> None:
        """Let another watch at once."""
        if self._held_until:
            self._held_until = 0
            async with self._store.writing() as session:
                await repo.release(session, _NAME, self._holder)

    async def _look(self, now: datetime) -> tuple[_Moved, tuple[Any, ...]]:
        sums = ORGANIZATIONS.table(DAY).c
        since = int(now.timestamp()) // DAY * DAY - DAY
        query = select(sums.organization, func.sum(sums.entries))
        query = query.where(sums.start >= since).group_by(sums.organization)
        configured = tuple(self._configured())
        async with self._store.reading() as session:
            version = (*await budgets.version(session), since, configured)
            is_any = bool(version[0] or configured)
            moved = {row[0]: int(row[1]) for row in await session.execute(query)} if is_any else {}
        return moved, version

    async def _take(self, now: datetime) -> bool:
        at, until = to_ns(now), to_ns(now) + HOLD * _SECOND
        if self._held_until > at + HOLD * _SECOND // 2:
            return True
        async with self._store.writing() as session:
            self._held_until = until if await repo.take(session, _NAME, self._holder, at, until) else 0
        return bool(self._held_until)

    async def _look_at_budgets(self, only: set[str] | None, now: datetime, stopping: Callable[[], bool]) -> None:
        """Of some organisations, or of all."""
        of: dict[str, list[Watched]] = defaultdict(list)
        async with self._store.reading() as session:
            every = [*await budgets.stored(session), *self._configured()]
        for budget in every:
            if only is None or budget.organization in only:
                of[budget.organization].append(budget)
        for watched in of.values():
            if stopping():
                return
            # What was spent at the end of a period is entered when the next one has begun.
            late, at = (now - daily.SETTLING).timestamp(), now.timestamp()
            found: list[New] = []
            async with self._store.reading() as session:
                for moment, some in ((late, budgets.over_since(watched, late, at)), (at, watched)):
                    used = await budgets.spent(session, some, moment)
                    found += await self._unknown(session, list(budgets.crossed(some, used, moment)))
            await self._raise(found)

    async def _look_at_day(self, day: date, stopping: Callable[[], bool]) -> bool:
        """Forecasts and anomalies of some more organisations; gives whether it was all of them."""
        if self._waiting is None:
            async with self._store.reading() as session:
                self._waiting = await daily.organizations(session, day)
        for _ in range(0, min(_SLICE, len(self._waiting)), _AT_ONCE):
            found: list[New] = []
            for organization in self._waiting[:_AT_ONCE]:
                if stopping():
                    return False
                found += await self._of_day(organization, day)
                await asyncio.sleep(PAUSE)
            await self._raise(found)
            del self._waiting[:_AT_ONCE]
        return not self._waiting

    async def _of_day(self, organization: str, day: date) -> list[New]:
        async with self._store.reading() as session:
            days = await series.daily(session, organization, day, forecast.HISTORY)
            known = await repo.known(session, [daily.forecast_key(organization, day)])
            anomalies = await self._unknown(session, list(daily.anomalies_of(days, organization, day)))
        foretold = None if known else await asyncio.to_thread(daily.forecast_of, days, organization, day)
        return anomalies if foretold is None else [*anomalies, foretold]

    async def _unknown(self, session: AsyncSession, found: Sequence[New]) -> list[New]:
        known = await repo.known(session, [notice.key for notice in found])
        return [notice for notice in found if notice.key not in known]

    async def _raise(self, found: Sequence[New]) -> None:
        if not found:
            return
        async with self._store.writing() as session:
            raised = await repo.raise_once(session, found, to_ns(self._clock()))
        self.raised.update(notice.event for notice in raised)
