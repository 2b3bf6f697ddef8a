"""The ledger as APIs read it, within one work and with one permission."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, select

from gateway.domain.analytics import conditions, entries, tags
from gateway.domain.analytics.conditions import Condition
from gateway.domain.analytics.periods import Interval, of_seconds
from gateway.domain.analytics.tags import Grouping
from gateway.domain.fields import amount, invalid
from gateway.domain.ledger import repo, totals
from gateway.domain.ledger.levels import DAY, ORGANIZATIONS
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.query import NEWEST_FIRST, Filter, Sort, Sums
from gateway.domain.organizations import repo as organizations
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

MOST_ROWS = 1_000


class Shown(Struct, frozen=True):
    """An entry, and what it costs by its last correction: nano-dollars, None where nobody knows."""

    entry: LedgerEntry
    cost_nanos: int | None


class EntryPage(Struct, frozen=True):
    """A page of entries; ``total`` is how many all pages have. ``after`` leads to the next page; None on the last."""

    items: tuple[Shown, ...]
    total: int
    after: tuple[Any, ...] | None


class Reader:
    """Reads sums and entries: everyone's for the platform, those of the own organisation with ``permission``.

    Every method raises FORBIDDEN ``insufficient_permissions`` for anything else.
    """

    def __init__(self, work: Work, permission: str) -> None:
        self.work = work
        self._permission = permission

    def confined(self, wanted: Filter) -> Filter:
        """The filter, within what the actor may see."""
        actor = self.work.actor
        if actor.is_platform_admin:
            return wanted
        organization = wanted.organization or actor.organization or ""
        actor.require(self._permission, organization)
        return wanted.within(organization)

    async def within(self, wanted: Filter) -> Filter:
        """As :meth:`confined`, of an organisation by its id, slug or number."""
        reference = wanted.organization
        if reference is not None and reference != self.work.actor.organization:
            wanted = wanted.within(await organizations.id_of(self.work.session, reference))
        return self.confined(wanted)

    async def sums(
        self,
        wanted: Filter,
        by: Sequence[Grouping] = (),
        interval: Interval | None = None,
        numbers: tuple[str, ...] = tags.NUMBERS,
    ) -> list[Sums]:
        """Sums by group and interval, in the order of the intervals, then of the groups; with neither exactly one.

        Of ``numbers`` alone; those of projects and tags are always :data:`tags.NUMBERS`.
        """
        wanted = await self.within(wanted)
        known = tags.known_of_sums(by)
        if known is not None:
            return await totals.sums(self.work.session, wanted, known, interval, numbers)
        return await tags.sums(self.work.session, wanted, by, interval, is_sqlite=self._is_sqlite)

    async def page(
        self,
        wanted: Filter,
        *,
        more: Sequence[Condition] = (),
        also: Sequence[ColumnElement[bool]] = (),
        order: Sequence[Sort] = NEWEST_FIRST,
        limit: int = 20,
        after: Sequence[Any] | None = None,
        offset: int = 0,
    ) -> EntryPage:
        """A page of entries that meet ``more`` and ``also``; ``after`` is that of the page before. Raises INVALID."""
        amount(limit, "limit", least=1, most=MOST_ROWS)
        amount(offset, "offset")
        wanted, whole = await self.within(wanted), total_order(order)
        if after is not None and len(after) != len(whole):
            raise invalid("The cursor is of another order.", "cursor", "invalid_cursor")
        session, also = self.work.session, (*conditions.as_sql(more, is_sqlite=self._is_sqlite), *also)
        # One more than asked for tells whether there is a next page.
        rows, total = await entries.read(session, wanted, whole, limit + 1, after, offset, also)
        shown = await self._shown(rows[:limit])
        return EntryPage(shown, total, repo.sort_key(rows[limit - 1], whole) if len(rows) > limit else None)

    async def beginning(self, organization: str | None) -> datetime | None:
        """The first day that sums are known of, of all organisations for None; None where there are none at all."""
        days = ORGANIZATIONS.table(DAY).c
        query = select(days.start).order_by(days.start).limit(1)
        if organization is not None:
            query = query.where(days.organization == organization)
        first = await self.work.session.scalar(query)
        return None if first is None else of_seconds(first)

    async def get(self, id: str) -> Shown:
        """One entry. Raises NOT_FOUND ``usage_not_found``, also for another organisation's."""
        actor = self.work.actor
        entry = await repo.by_id(self.work.session, id)
        if entry is None or not (actor.is_platform_admin or entry.organization == actor.organization):
            raise GatewayError(Kind.NOT_FOUND, "usage_not_found", "There is no such usage record.", "usage_id")
        actor.require(self._permission, entry.organization)
        return (await self._shown([entry]))[0]

    async def _shown(self, rows: Sequence[LedgerEntry]) -> tuple[Shown, ...]:
        costs = await entries.standing(self.work.session, rows)
        return tuple(Shown(row, costs[row.id]) for row in rows)

    @property
    def _is_sqlite(self) -> bool:
        return self.work.session.get_bind().dialect.name == "sqlite"


def total_order(order: Sequence[Sort]) -> tuple[Sort, ...]:
    """The order, with which entries come first that are equal otherwise: the latest where the last field descends."""
    return (*order, Sort("number", descending=order[-1].descending))
