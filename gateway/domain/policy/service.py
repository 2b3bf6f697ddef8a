"""What holds for a credential or a user, put together from keys, users, organisations, plans, limits and money."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace
from sqlalchemy import ColumnElement, and_, false, or_, select

from gateway.contract.policy import CredentialPolicy, LimitPolicy, Status
from gateway.domain.actor import PLATFORM_ADMIN, grants
from gateway.domain.apps import model as apps
from gateway.domain.apps.model import App
from gateway.domain.budgets import service as budgets
from gateway.domain.budgets.model import Budget
from gateway.domain.credentials import model as credentials
from gateway.domain.credentials.model import Credential
from gateway.domain.credits import service as credits
from gateway.domain.limits import service as limits
from gateway.domain.limits.model import Limit
from gateway.domain.limits.scopes import SHARED
from gateway.domain.organizations import model as organizations
from gateway.domain.organizations.model import Organization
from gateway.domain.plans.conversion import limits_for
from gateway.domain.plans.model import Plan
from gateway.domain.roles.catalog import catalog
from gateway.domain.users import model as users
from gateway.domain.users.model import Membership, User
from gateway.domain.work import Work

INFERENCE = "inference"


class _Standing(NamedTuple):
    status: Status
    reason: str | None = None


_ACTIVE = _Standing("active")


class PolicyService:
    """Composes policies, within one work. It asks for no permission: what it gives is for the data plane."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def credential_policy(self, row: Credential) -> CredentialPolicy:
        """The policy of a key or an app's credential; for a former secret that of its key, ending with the grace."""
        if row.replaced_by is not None:
            return await self._former(row)
        organization = await self._organization(row.organization_id)
        user, role = await self._user(row.user_id, row.organization_id)
        app = None if row.app_id is None else await self._app(row.app_id)
        standing = _first(_of_key(row, self.work.now), _of_user(row.user_id, user), _of_app(app), _of(organization))
        scopes = catalog().expand(row.scopes)
        if user is not None and not user.is_platform_admin:
            scopes = catalog().within(scopes, catalog().of(role))
        plan = app.plan if app is not None else organization.plan if organization is not None else None
        return CredentialPolicy(
            id=row.id,
            name=row.name,
            kind=row.kind,
            organization=row.organization_id,
            user=row.user_id,
            app=row.app_id,
            role=role,
            plan=plan,
            # An app is none of any environment: its tier's API knows no such thing.
            environment=None if app is not None else row.environment,
            status=standing.status,
            status_reason=standing.reason,
            expires_at=_seconds(row.expires_at),
            models=tuple(row.models),
            cidrs=tuple(row.cidrs),
            inference=grants(scopes, INFERENCE),
            limits=await self._limits(organization, row.user_id, row.id, app),
        )

    async def user_policy(
        self,
        user: User,
        *,
        id: str,
        kind: str,
        organization: str,
        role: str | None,
        permissions: frozenset[str],
        expires_at: datetime | None = None,
    ) -> CredentialPolicy:
        """The policy of a user who signed in (``kind`` ``jwt`` or ``oidc``), with a token that may be used until
        ``expires_at``. ``permissions`` are expanded."""
        found = await self._organization(organization)
        standing = _first(_of_user(user.id, user), _of(found))
        return CredentialPolicy(
            id=id,
            name=user.id,
            kind=kind,
            organization=organization,
            user=user.id,
            role=role,
            plan=None if found is None else found.plan,
            status=standing.status,
            status_reason=standing.reason,
            expires_at=_seconds(expires_at),
            inference=grants(permissions, INFERENCE),
            limits=await self._limits(found, user.id, None, None),
        )

    async def limits_of(
        self, organization: str, *, user: str | None = None, key: str | None = None
    ) -> tuple[LimitPolicy, ...]:
        """Every limit that holds for an organisation, and for one of its users or keys."""
        return await self._limits(await self._organization(organization), user, key, None)

    async def _former(self, row: Credential) -> CredentialPolicy:
        query = select(Credential).where(Credential.id == row.replaced_by)
        policy = await self.credential_policy((await self.work.session.scalars(query)).one())
        until = row.grace_until or self.work.now
        ends = until.timestamp() if policy.expires_at is None else min(until.timestamp(), policy.expires_at)
        policy = replace(policy, expires_at=ends)
        if until <= self.work.now and policy.status == "active":
            policy = replace(policy, status="revoked", status_reason="This key was rotated.")
        return policy

    async def _limits(
        self, organization: Organization | None, user: str | None, key: str | None, app: App | None
    ) -> tuple[LimitPolicy, ...]:
        session = self.work.session
        owners = {"key": key, "user": user, "organization": None if organization is None else organization.id}
        # What the platform set for models, providers and everyone holds for each.
        theirs = or_(*_whose(Limit, owners), Limit.scope.in_(SHARED))
        rows = await session.scalars(select(Limit).where(theirs).order_by(Limit.number))
        found = [limits.policy_of(row) for row in rows]
        spend = select(Budget).where(or_(*_whose(Budget, owners), false())).order_by(Budget.number)
        found += [budgets.policy_of(row) for row in await session.scalars(spend)]
        found += await self._of_plans(organization, key, app)
        if organization is not None and organization.prepaid:
            granted = await credits.granted_to(self.work, organization.id)
            found.append(credits.policy_of(organization.id, granted))
        return tuple(found)

    async def _of_plans(self, organization: Organization | None, key: str | None, app: App | None) -> list[LimitPolicy]:
        names = {row.plan for row in (organization, app) if row is not None and row.plan is not None}
        if not names:
            return []
        plans = {row.name: row for row in await self.work.session.scalars(select(Plan).where(Plan.name.in_(names)))}
        found: list[LimitPolicy] = []
        if organization is not None and organization.plan in plans:
            found += limits_for(plans[organization.plan], "organization", organization.id)
        if app is not None and key is not None and app.plan in plans:
            found += limits_for(plans[app.plan], "key", key)
        return found

    async def _organization(self, id: str) -> Organization | None:
        return await self.work.session.scalar(select(Organization).where(Organization.id == id))

    async def _app(self, app_id: str) -> App | None:
        return await self.work.session.scalar(select(App).where(App.app_id == app_id))

    async def _user(self, id: str | None, organization: str) -> tuple[User | None, str | None]:
        if id is None:
            return None, None
        theirs = (Membership.user_id == User.id) & (Membership.organization_id == organization)
        query = select(User, Membership.role).outerjoin(Membership, theirs).where(User.id == id)
        found = (await self.work.session.execute(query)).one_or_none()
        if found is None:
            return None, None
        user, role = found
        return user, PLATFORM_ADMIN if user.is_platform_admin else role


def _whose(table: type[Limit] | type[Budget], owners: dict[str, str | None]) -> list[ColumnElement[bool]]:
    # One condition for each, so that each is found by the index.
    return [and_(table.scope == scope, table.scope_id == id) for scope, id in owners.items() if id is not None]


def _of_key(row: Credential, now: datetime) -> _Standing:
    if row.status == credentials.REVOKED:
        return _Standing("revoked", "This key was revoked.")
    if row.expires_at is not None and row.expires_at <= now:
        return _Standing("expired", "This key has expired.")
    return _Standing("disabled", "This key is disabled.") if row.status == credentials.DISABLED else _ACTIVE


def _of_user(id: str | None, user: User | None) -> _Standing:
    if id is None or (user is not None and user.status == users.ACTIVE):
        return _ACTIVE
    return _Standing("disabled", "The key's user may not use the gateway.")


def _of_app(app: App | None) -> _Standing:
    if app is None or app.status == apps.ACTIVE:
        return _ACTIVE
    return _Standing("suspended", app.status_reason or "The app is suspended.")


def _of(organization: Organization | None) -> _Standing:
    if organization is None or organization.status == organizations.DELETED:
        return _Standing("disabled", "The organization no longer exists.")
    if organization.status == organizations.SUSPENDED:
        return _Standing("suspended", organization.status_reason or "The organization is suspended.")
    return _ACTIVE


def _first(*standings: _Standing) -> _Standing:
    """The first that stands in the way: what is final before what may pass."""
    return next((standing for standing in standings if standing.status != "active"), _ACTIVE)


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
