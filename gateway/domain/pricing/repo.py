"""Reading and writing prices and exchange rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, cast

import msgspec
from sqlalchemy import ColumnElement, Row, Table, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.pricing.currency import DayRate
from gateway.domain.pricing.model import ExchangeRate, PriceRevision, PriceVersion
from gateway.domain.pricing.price import Hours, Price, Source, Tier
from gateway.store.base import Base

_NAME = "prices"
_CHUNK = 500  # rows a statement


def price_of(row: PriceVersion | Row[Any]) -> Price:
    """The price a row keeps."""
    return Price(
        id=row.id,
        provider=row.provider,
        model=row.model,
        source=cast(Source, row.source),
        effective_from=row.effective_from,
        effective_to=row.effective_to,
        currency=row.currency,
        rates=row.rates,
        tiers=tuple(Tier(**tier) for tier in row.tiers),
        hours=tuple(Hours(**hours) for hours in row.hours),
        organization=row.organization_id,
        number=row.number,
    )


def columns_of(price: Price) -> dict[str, Any]:
    """The columns of a price, but for those that tell when and by whom it was made."""
    return {
        "id": price.id,
        "organization_id": price.organization,
        "provider": price.provider,
        "model": price.model,
        "source": price.source,
        "effective_from": price.effective_from,
        "effective_to": price.effective_to,
        "currency": price.currency,
        "rates": dict(price.rates),
        "tiers": msgspec.to_builtins(price.tiers, builtin_types=()),
        "hours": msgspec.to_builtins(price.hours, builtin_types=()),
    }


async def revision(session: AsyncSession) -> int:
    """How often the prices have been written."""
    return await session.scalar(select(PriceRevision.revision).where(PriceRevision.name == _NAME)) or 0


async def whole_list(session: AsyncSession) -> str | None:
    """The version of the list of default prices that the table holds whole."""
    return await session.scalar(select(PriceRevision.whole_list).where(PriceRevision.name == _NAME))


async def state(session: AsyncSession) -> PriceRevision:
    """The row of the revision, made where it is missing; locked until the transaction ends."""
    await add_counter(session, _NAME)
    query = select(PriceRevision).where(PriceRevision.name == _NAME).with_for_update()
    return (await session.scalars(query.execution_options(populate_existing=True))).one()


async def add_counter(session: AsyncSession, name: str) -> None:
    """Make a counter of a name, at zero, where there is none."""
    await _insert(session, PriceRevision, [{"name": name, "revision": 0}])


async def bump(session: AsyncSession) -> None:
    """Count a change of prices."""
    await add_counter(session, _NAME)
    counted = update(PriceRevision).where(PriceRevision.name == _NAME).values(revision=PriceRevision.revision + 1)
    await session.execute(counted.execution_options(synchronize_session=False))


async def all_versions(session: AsyncSession, source: str | None = None) -> list[Price]:
    """Every version of every price, or those of a source."""
    # Columns, not objects: of a whole list of prices those would be megabytes.
    query = select(*PriceVersion.__table__.columns).order_by(PriceVersion.number)
    if source is not None:
        query = query.where(PriceVersion.source == source)
    return [price_of(row) for row in await session.execute(query)]


async def exchange_rates(session: AsyncSession) -> list[DayRate]:
    """The gateway's own exchange rates."""
    rows = await session.scalars(select(ExchangeRate))
    return [DayRate(row.currency, row.day, row.nanos_per_unit) for row in rows]


async def keep_defaults(session: AsyncSession, prices: Iterable[Price], now: datetime) -> None:
    """Store default prices; those that are there already are left as they are."""
    made = {"supersedes": None, "created_by": "system", "created_at": now, "updated_at": now}
    await _insert(session, PriceVersion, [columns_of(price) | made for price in prices])


async def by_id(session: AsyncSession, id: str, *, lock: bool = False) -> PriceVersion | None:
    """One version; ``lock``: of two that change it at once, the second waits for the first."""
    query = select(PriceVersion).where(PriceVersion.id == id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return await session.scalar(query)


async def versions(
    session: AsyncSession, provider: str, model: str, source: str, organization: str | None
) -> Sequence[PriceVersion]:
    """The versions of one price from one source, in the order they begin, but for those that never were in force."""
    query = select(PriceVersion).where(
        PriceVersion.provider == provider,
        PriceVersion.model == model,
        PriceVersion.source == source,
        PriceVersion.organization_id == organization
        if organization is not None
        else PriceVersion.organization_id.is_(None),
        or_(PriceVersion.effective_to.is_(None), PriceVersion.effective_to > PriceVersion.effective_from),
    )
    return (await session.scalars(query.order_by(PriceVersion.effective_from))).all()


async def page(
    session: AsyncSession, within: Sequence[ColumnElement[bool]], after: int | None, limit: int, *, ascending: bool
) -> tuple[list[PriceVersion], int]:
    """At most ``limit`` versions behind the one numbered ``after``, and how many there are in all."""
    number = PriceVersion.number
    total = await session.scalar(select(func.count()).select_from(PriceVersion).where(*within))
    query = select(PriceVersion).where(*within).order_by(number if ascending else number.desc()).limit(limit)
    if after is not None:
        query = query.where(number > after if ascending else number < after)
    return list(await session.scalars(query)), total or 0


async def _insert(session: AsyncSession, table: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Insert what is not there yet."""
    made = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = made(cast(Table, table.__table__)).on_conflict_do_nothing()
    for start in range(0, len(rows), _CHUNK):
        await session.execute(statement, list(rows[start : start + _CHUNK]))
