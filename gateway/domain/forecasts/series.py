"""What each day of an organisation cost, from the sums of days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.analytics.periods import to_ns
from gateway.domain.ledger import totals
from gateway.domain.ledger.query import Filter


class Series(Struct, frozen=True):
    """The cost of consecutive days (UTC) from ``first`` on, in nano-dollars."""

    first: date
    nanos: tuple[int, ...]

    @property
    def end(self) -> date:
        """The day after the last one."""
        return self.first + timedelta(days=len(self.nanos))

    def before(self, day: date, most: int) -> Sequence[int]:
        """The last ``most`` days before ``day``; fewer where there are no more."""
        at = (day - self.first).days
        return self.nanos[max(0, at - most) : max(0, at)]

    def on(self, day: date) -> int | None:
        """What a day cost; None for one that is not within."""
        at = (day - self.first).days
        return self.nanos[at] if 0 <= at < len(self.nanos) else None


async def daily(session: AsyncSession, organization: str, end: date, days: int) -> Series:
    """The ``days`` days before ``end``, from the first of them on that cost anything; none where none did."""
    begin = end - timedelta(days=days)
    wanted = Filter(organization=organization, from_ns=_ns(begin), until_ns=_ns(end))
    costs = [0] * days
    for found in await totals.sums(session, wanted, (), "day", ("cost_nanos",)):
        assert found.start is not None, "there are buckets"
        costs[(datetime.fromtimestamp(found.start, UTC).date() - begin).days] = found.cost_nanos
    unused = next((at for at, cost in enumerate(costs) if cost), days)
    return Series(begin + timedelta(days=unused), tuple(costs[unused:]))


def _ns(day: date) -> int:
    return to_ns(datetime(day.year, day.month, day.day, tzinfo=UTC))
