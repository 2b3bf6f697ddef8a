"""Reading users and memberships."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVarTuple

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.actor import PLATFORM_ADMIN
from gateway.domain.rows import number_of
from gateway.domain.users.model import Membership, User
from gateway.domain.users.requests import UserFilter
from gateway.store.base import fit

_Columns = TypeVarTuple("_Columns")


async def by_id(session: AsyncSession, id: str, *, lock: bool = False) -> User | None:
    """The user of an id."""
    return await session.scalar(_locked(select(User).where(User.id == id), lock))


async def by_email(session: AsyncSession, email: str, *, lock: bool = False) -> User | None:
    """The user of a case-folded email."""
    return await session.scalar(_locked(select(User).where(User.email == email), lock))


async def by_subject(session: AsyncSession, subject: str) -> User | None:
    """The user who signs in elsewhere as ``issuer|subject``."""
    return await session.scalar(select(User).where(User.subject == subject))


async def by_reference(session: AsyncSession, reference: str | int, *, lock: bool = False) -> User | None:
    """The user of an id, a number, ``user_<number>`` or an email."""
    number = number_of(reference, "user_")
    if number is not None:
        return await session.scalar(_locked(select(User).where(User.number == number), lock))
    text = str(reference)
    return await (by_email(session, fold(text), lock=lock) if "@" in text else by_id(session, text, lock=lock))


async def membership(session: AsyncSession, user: str, organization: str) -> Membership | None:
    """What a user is in an organisation."""
    return await session.get(Membership, (user, organization))


async def memberships(session: AsyncSession, user: str) -> Sequence[Membership]:
    """All of a user's memberships, the oldest first."""
    query = select(Membership).where(Membership.user_id == user).order_by(Membership.assigned_at)
    return (await session.scalars(query)).all()


async def page(
    session: AsyncSession, chosen: UserFilter, limit: int, offset: int
) -> tuple[Sequence[tuple[User, Membership | None]], int]:
    """The chosen users in the order they were made, with their membership in the organisation that was chosen, else
    in their own; and how many are chosen in all."""
    query = _filtered(select(User, Membership), chosen).order_by(User.number).limit(limit).offset(offset)
    total = await session.scalar(_filtered(select(func.count(User.number)), chosen))
    return [(user, member) for user, member in (await session.execute(query)).all()], total or 0


def fold(email: str) -> str:
    """The email as it is kept and compared."""
    return fit(email).strip().casefold()


def _filtered(query: Select[*_Columns], chosen: UserFilter) -> Select[*_Columns]:
    of = User.organization_id if chosen.organization is None else chosen.organization
    joined = and_(Membership.user_id == User.id, Membership.organization_id == of)
    query = query.select_from(User).join(Membership, joined, isouter=chosen.organization is None)
    if chosen.role is not None:
        query = query.where(_has_role(chosen.role))
    if chosen.status is not None:
        query = query.where(User.status == chosen.status)
    if chosen.search is not None:
        sought = fold(chosen.search)
        found = (
            User.email.contains(sought, autoescape=True),
            func.lower(User.username).contains(sought, autoescape=True),
        )
        query = query.where(or_(*found))
    return query


def _has_role(role: str) -> ColumnElement[bool]:
    if role == PLATFORM_ADMIN:
        return User.is_platform_admin.is_(True)
    return and_(User.is_platform_admin.is_(False), Membership.role == role)


def _locked(query: Select[User], lock: bool) -> Select[User]:
    return query.with_for_update().execution_options(populate_existing=True) if lock else query
