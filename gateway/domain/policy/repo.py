"""Reading what a policy is put together from, in two queries: a data plane that starts asks for many at once."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    String,
    and_,
    bindparam,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from gateway.contract.policy import LimitPolicy
from gateway.domain.apps.model import App
from gateway.domain.budgets.model import Budget
from gateway.domain.credits.model import CreditEntry
from gateway.domain.limits.model import Limit
from gateway.domain.limits.scopes import OWNED, SHARED
from gateway.domain.organizations.model import Organization
from gateway.domain.plans.model import Plan
from gateway.domain.users.model import Membership, User

_Tier = aliased(Plan)
_FIELDS = LimitPolicy.__struct_fields__


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
    rows = (await session.execute(_limits_query(), given)).all()
    ordered = sorted(rows, key=lambda row: (row.source == "budget", row.number))
    return [LimitPolicy(**{name: getattr(row, name) for name in _FIELDS}) for row in ordered]


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
    none = cast(null(), String)
    limited = select(
        Limit.number, literal("limit").label("source"), literal("").label("name"), Limit.scope, Limit.scope_id,
        Limit.metric, Limit.limit, Limit.window, Limit.sliding, Limit.model, Limit.provider,
    ).where(or_(*_whose(Limit), Limit.scope.in_(SHARED)))  # fmt: skip
    budgeted = select(
        Budget.number, literal("budget"), Budget.name, Budget.scope, Budget.scope_id,
        literal("cost"), Budget.amount_nanos, Budget.period, literal(value=False), none, none,
    ).where(or_(*_whose(Budget)))  # fmt: skip
    return union_all(limited, budgeted)


def _whose(table: type[Limit] | type[Budget]) -> list[ColumnElement[bool]]:
    # One condition for each, so that each is found by the index.
    return [and_(table.scope == scope, table.scope_id == bindparam(scope)) for scope in OWNED]
