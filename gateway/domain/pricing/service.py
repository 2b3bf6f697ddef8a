"""Prices by API: made, followed by another version, ended, and found. Nothing that was told is edited."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET
from sqlalchemy import ColumnElement, func, or_, select

from gateway.domain.fields import invalid, page, text
from gateway.domain.organizations import repo as organizations
from gateway.domain.pricing import repo
from gateway.domain.pricing.checks import check_rates, check_span
from gateway.domain.pricing.model import PriceVersion
from gateway.domain.pricing.price import RANK, Price
from gateway.domain.pricing.requests import NewPrice, PriceChange, PriceFilter, PricePage
from gateway.domain.turns import take_turn
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

READ, WRITE = "pricing:read", "pricing:write"
Conditions: TypeAlias = list[ColumnElement[bool]]
MOST = 10_000
"""Versions one organisation, and the platform, may have made."""


class PriceService:
    """What can be done with prices, within one work.

    A price of the platform is everybody's, and what passes through the gateway is rated by it. An organisation may set
    prices of its own, which its own reports of usage are rated by, and which nobody else sees.

    Raises NOT_FOUND ``price_not_found``, FORBIDDEN ``insufficient_permissions``, INVALID for bad input
    (``invalid_date_range`` where an end is before its beginning), CONFLICT ``already_exists`` where another version
    holds at that time and ``price_ended`` where one is over.
    """

    def __init__(self, work: Work) -> None:
        self.work = work

    async def create(self, new: NewPrice) -> PriceVersion:
        """Make a price. An open one that began earlier ends where this begins."""
        start = new.effective_from or self.work.now
        owner = await self._owner(new.organization)
        check_span(start, new.effective_to)
        row = PriceVersion(
            organization_id=owner,
            provider=text(new.provider, "provider"),
            model=text(new.model, "model"),
            source="api",
            effective_from=start,
            effective_to=new.effective_to,
            **check_rates(new.rates, new.tiers, new.currency),
        )
        await self._take_turn(owner)
        row.supersedes = await self._make_room(row)
        return await self._add(row, "pricing.created", None)

    async def new_version(self, id: str, change: PriceChange) -> PriceVersion:
        """Follow a price with another version; gives the new one.

        It ends where the former would have. It may begin earlier than now, which corrects a price afterwards: what was
        rated meanwhile is rated anew by the ledger. Of a price that the caller can't change, the configuration's for
        one, the version is one of their own, which is believed first.
        """
        former = await self._visible(id)
        owner = await self._owner(former.organization_id)
        await self._take_turn(owner)
        former = await self._visible(id, lock=True)
        start = change.effective_from or self.work.now
        own = former.source == "api" and former.organization_id == owner
        row = PriceVersion(
            organization_id=owner,
            provider=former.provider,
            model=former.model,
            source="api",
            effective_from=start,
            effective_to=former.effective_to if own else None,
            supersedes=former.id,
            **_changed(former, change),
        )
        if own:
            _require_current(former, start)
            self._end(former, start)
        await self._make_room(row)
        return await self._add(row, "pricing.updated", former)

    async def end(self, id: str, at: datetime | None = None) -> PriceVersion:
        """End a price at a time, now by default; one that has not begun yet is never in force."""
        row = await self._visible(id, lock=True)
        if row.organization_id is None:
            self.work.actor.require(WRITE)
            self.work.actor.require_platform()
        self.work.actor.require(WRITE, row.organization_id)
        if row.source != "api":
            where = "gateway.yaml" if row.source == "config" else "the default list"
            raise _conflict("price_not_editable", f"This price comes from {where}; make a new version of it instead.")
        if at is not None and at < row.effective_from:
            raise invalid("end_date must not be before effective_date.", "end_date", "invalid_date_range")
        end = max(at or self.work.now, row.effective_from)
        if row.effective_to is not None and row.effective_to <= end:
            raise _ended(row)
        before = _told(row)
        self._end(row, end)
        await self._changed(row)
        await self._audit("pricing.deleted", row, before)
        return row

    async def get(self, id: str) -> PriceVersion:
        """One version, over or not."""
        self.work.actor.require(READ)
        return await self._visible(id)

    async def list(self, wanted: PriceFilter) -> PricePage:
        """The platform's versions and those of the caller's organisation; for the platform those of all."""
        self.work.actor.require(READ, wanted.organization)
        limit, _ = page(wanted.limit, 0)
        rows, total = await repo.page(
            self.work.session, self._within(wanted), wanted.after, limit + 1, ascending=wanted.ascending
        )
        more = len(rows) > limit
        rows = rows[:limit]
        return PricePage(tuple(rows), rows[-1].number if more else None, total)

    async def find(self, provider: str, model: str, at: datetime, organization: str | None = None) -> Price | None:
        """The stored price in force at a time: the organisation's own, else by API, by configuration, by default."""
        query = select(PriceVersion).where(
            PriceVersion.provider == provider,
            PriceVersion.model == model,
            PriceVersion.effective_from <= at,
            or_(PriceVersion.effective_to.is_(None), PriceVersion.effective_to > at),
            or_(PriceVersion.organization_id.is_(None), PriceVersion.organization_id == organization),
        )
        rows = (await self.work.session.scalars(query)).all()
        found = sorted(rows, key=lambda row: (row.organization_id is None, RANK[row.source], -row.number))
        return repo.price_of(found[0]) if found else None

    def _within(self, wanted: PriceFilter) -> Conditions:
        actor, now = self.work.actor, self.work.now
        table = PriceVersion
        within: Conditions = []
        if wanted.organization is not None:
            within.append(table.organization_id == wanted.organization)
        elif not actor.is_platform_admin:
            within.append(or_(table.organization_id.is_(None), table.organization_id == actor.organization))
        for column, value in ((table.provider, wanted.provider), (table.model, wanted.model)):
            if value is not None:
                within.append(column == value)
        if wanted.source is not None:
            within.append(table.source == wanted.source)
        if wanted.active:
            within += [table.effective_from <= now, or_(table.effective_to.is_(None), table.effective_to > now)]
        return within

    async def _owner(self, organization: str | None) -> str | None:
        """Whose price is written: None for everybody's."""
        actor = self.work.actor
        if organization is None and not actor.is_platform_admin:
            organization = actor.organization
        actor.require(WRITE, organization)
        if organization is None:
            actor.require_platform()
        else:
            await self._known(organization)
        return organization

    async def _known(self, organization: str) -> None:
        if await organizations.by_id(self.work.session, organization) is None:
            message = f"There is no organization {organization!r}."
            raise GatewayError(Kind.NOT_FOUND, "organization_not_found", message, "organization")

    async def _take_turn(self, owner: str | None) -> None:
        # Two that make versions of one price at once would both find room.
        await take_turn(self.work.session, "prices")
        of = PriceVersion.organization_id.is_(None) if owner is None else PriceVersion.organization_id == owner
        query = select(func.count()).select_from(PriceVersion).where(of, PriceVersion.source == "api")
        if (await self.work.session.scalar(query) or 0) >= MOST:
            raise _conflict("too_many_prices", f"There are {MOST} versions of prices already.")

    async def _visible(self, id: str, *, lock: bool = False) -> PriceVersion:
        row = await repo.by_id(self.work.session, id, lock=lock)
        actor = self.work.actor
        if row is None or not (
            row.organization_id is None or actor.is_platform_admin or row.organization_id == actor.organization
        ):
            raise GatewayError(Kind.NOT_FOUND, "price_not_found", "There is no such price.", "pricing_id")
        return row

    async def _make_room(self, row: PriceVersion) -> str | None:
        """End the open version that began before; gives its id. Raises CONFLICT where another is in the way."""
        await self.work.session.flush()
        versions = await repo.versions(self.work.session, row.provider, row.model, "api", row.organization_id)
        superseded = None
        for other in versions:
            if not _overlap(other, row):
                continue
            follows = other.effective_from < row.effective_from and other.effective_to is None
            if not follows or row.effective_to is not None:
                message = f"The price {other.id} holds at that time; make a new version of it instead."
                raise GatewayError(Kind.CONFLICT, "already_exists", message, "effective_from")
            self._end(other, row.effective_from)
            superseded = other.id
        return superseded

    def _end(self, row: PriceVersion, at: datetime) -> None:
        row.effective_to = max(at, row.effective_from)
        row.updated_at = self.work.now

    async def _add(self, row: PriceVersion, action: str, former: PriceVersion | None) -> PriceVersion:
        row.created_by = self.work.actor.id
        row.created_at = row.updated_at = self.work.now
        self.work.session.add(row)
        await self.work.session.flush()
        await self._changed(row)
        await self._audit(action, row, None if former is None else _told(former), after=_told(row))
        return row

    async def _changed(self, row: PriceVersion) -> None:
        await repo.bump(self.work.session)
        if row.organization_id is None:
            # An organisation's own prices are none of the data plane's.
            self.work.changed("pricing", row.id)

    async def _audit(
        self, action: str, row: PriceVersion, before: dict[str, Any] | None, after: dict[str, Any] | None = None
    ) -> None:
        told = after or _told(row)
        await self.work.audit(action, "pricing", row.id, before=before, after=told, organization=row.organization_id)


def _changed(former: PriceVersion, change: PriceChange) -> dict[str, Any]:
    if not change.rates and change.tiers is UNSET and change.currency is UNSET:
        raise invalid("Tell at least one price that changes.", "input_price_per_1k")
    price = repo.price_of(former)
    rates = {kind: rate for kind, rate in (price.rates | change.rates).items() if rate is not None}
    tiers = price.tiers if isinstance(change.tiers, msgspec.UnsetType) else change.tiers
    currency = former.currency if isinstance(change.currency, msgspec.UnsetType) else change.currency
    return check_rates(rates, tiers, currency)


def _require_current(former: PriceVersion, start: datetime) -> None:
    if former.effective_to is not None and former.effective_to <= max(start, former.effective_from):
        raise _ended(former)


def _overlap(one: PriceVersion, other: PriceVersion) -> bool:
    return (one.effective_to is None or other.effective_from < one.effective_to) and (
        other.effective_to is None or one.effective_from < other.effective_to
    )


def _told(row: PriceVersion) -> dict[str, Any]:
    end = row.effective_to
    return {
        "provider": row.provider,
        "model": row.model,
        "currency": row.currency,
        "rates": dict(row.rates),
        "tiers": list(row.tiers or ()),
        "effective_from": row.effective_from.isoformat(),
        "effective_to": None if end is None else end.isoformat(),
    }


def _ended(row: PriceVersion) -> GatewayError:
    end = row.effective_to
    assert end is not None
    return _conflict("price_ended", f"This price has ended on {end.isoformat()}; a later version may hold.")


def _conflict(code: str, message: str) -> GatewayError:
    return GatewayError(Kind.CONFLICT, code, message, "pricing_id")
