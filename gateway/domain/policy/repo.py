"""Reading what one policy is put together from, in two queries; :mod:`.lookup` reads it for many at once."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    CompoundSelect,
    Select,
    and_,
    bindparam,
    func,
    null,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from gateway.contract.policy import LimitPolicy
from gateway.domain.apps.model import App
from gateway.domain.credits.model import CreditEntry
from gateway.domain.organizations.model import Organization
from gateway.domain.plans.model import Plan
from gateway.domain.policy.limited import in_order, limited, numbered
from gateway.domain.users.model import Membership, User

_Tier = aliased(Plan)


class Subject(NamedTuple):
    """Whom a policy is for. ``plan`` is the organisation's, ``tier`` the app's; ``granted`` is nano-dollars."""

    organization: Organization | None = None
    plan: Plan | None = None
    granted: int = 0
    user: User | None = None
    role: str | None = None
    app: App | None = None
    tier: Plan | None = None


async def subject(session: AsyncSession, organization: str, user: str | None, app: str | None) -> Subject:
    """An organisation, and one of its users or apps where one is named."""
    given = {"organization": organization, "user": user, "app": app}
    named = {name: id for name, id in given.items() if id is not None}
    row = (await session.execute(_subject_query(user is not None, app is not None), named)).one_or_none()
    if row is None:
        return Subject()
    found = Subject(*row)
    return found._replace(granted=int(found.granted))


async def limits(session: AsyncSession, organization: str, user: str | None, key: str | None) -> list[LimitPolicy]:
    """The limits and budgets set for them, and what the platform set for models, providers and everyone."""
    # No id is empty, so that what is not given matches nothing.
    given = {"organization": organization, "user": user or "", "key": key or ""}
    return in_order(numbered(row) for row in await session.execute(_limits_query(), given))


# Made once: making a query, and its key in the cache of compiled ones, takes longer than running it.


@cache
def _subject_query(with_user: bool, with_app: bool) -> Select[Any]:
    given = func.coalesce(func.sum(CreditEntry.amount_nanos), 0)
    granted = select(given).where(CreditEntry.organization_id == Organization.id).scalar_subquery()
    query: Select[Any] = select(Organization, Plan, granted).outerjoin(Plan, Plan.name == Organization.plan)
    if with_user:
        theirs = and_(Membership.user_id == User.id, Membership.organization_id == Organization.id)
        query = query.add_columns(User, Membership.role).outerjoin(User, User.id == bindparam("user"))
        query = query.outerjoin(Membership, theirs)
    else:
        query = query.add_columns(null(), null())
    if with_app:
        query = query.add_columns(App, _Tier).outerjoin(App, App.app_id == bindparam("app"))
        query = query.outerjoin(_Tier, _Tier.name == App.plan)
    return query.where(Organization.id == bindparam("organization"))


@cache
def _limits_query() -> CompoundSelect[Any]:
    return limited(lambda scope_id, scope: scope_id == bindparam(scope))
