"""Reading organisations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.organizations.model import DELETED, Organization
from gateway.domain.organizations.requests import OrganizationFilter
from gateway.domain.rows import number_of
from gateway.store.base import fit


async def by_id(session: AsyncSession, id: str, *, lock: bool = False) -> Organization | None:
    """The organisation of an id, a deleted one included. ``lock`` keeps others from changing it meanwhile."""
    query = select(Organization).where(Organization.id == id)
    return await session.scalar(_locked(query) if lock else query)


async def by_reference(session: AsyncSession, reference: str | int, *, lock: bool = False) -> Organization | None:
    """The organisation of an id, a slug or a number, in that order; not a deleted one."""
    named = or_(Organization.id == str(reference), Organization.slug == str(reference))
    number = number_of(reference)
    query = select(Organization).where(named if number is None else or_(named, Organization.number == number))
    query = query.where(Organization.status != DELETED)
    found = (await session.scalars(_locked(query) if lock else query)).all()
    ranked = sorted(found, key=lambda row: (row.id != reference, row.slug != reference))
    return ranked[0] if ranked else None


async def id_of(session: AsyncSession, reference: str) -> str:
    """The id of the organisation of an id, a slug or a number; what names none is given back."""
    row = await by_reference(session, reference)
    return reference if row is None else row.id


async def by_name(session: AsyncSession, name: str) -> Organization | None:
    """The organisation of an id or a slug, in that order, and of no number; not a deleted one."""
    named = or_(Organization.id == name, Organization.slug == name)
    found = (await session.scalars(select(Organization).where(named, Organization.status != DELETED))).all()
    return min(found, key=lambda row: row.id != name, default=None)


async def slug_taken(session: AsyncSession, slug: str) -> bool:
    """Whether an organisation has that slug."""
    return await session.scalar(select(Organization.number).where(Organization.slug == slug)) is not None


async def page(
    session: AsyncSession, chosen: OrganizationFilter, limit: int, offset: int
) -> tuple[Sequence[Organization], int]:
    """The chosen organisations in the order they were made, and how many are chosen in all."""
    query = _filtered(select(Organization), chosen).order_by(Organization.number).limit(limit).offset(offset)
    total = await session.scalar(_filtered(select(func.count()).select_from(Organization), chosen))
    return (await session.scalars(query)).all(), total or 0


def _filtered(query: Select[Any], chosen: OrganizationFilter) -> Select[Any]:
    if chosen.id is not None:
        query = query.where(Organization.id == chosen.id)
    if chosen.plan is not None:
        query = query.where(Organization.plan == chosen.plan)
    if chosen.search is not None:
        sought = fit(chosen.search).casefold()
        query = query.where(
            or_(
                func.lower(Organization.name).contains(sought, autoescape=True),
                func.lower(Organization.slug).contains(sought, autoescape=True),
            )
        )
    if chosen.status is not None:
        return query.where(Organization.status == chosen.status)
    return query.where(Organization.status != DELETED)


def _locked(query: Select[Organization]) -> Select[Organization]:
    return query.with_for_update().execution_options(populate_existing=True)
