"""What holds for a credential or a user, put together from keys, users, organisations, plans, limits and money."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace
from sqlalchemy import select

from gateway.contract.policy import CredentialPolicy, LimitPolicy, Status
from gateway.domain.actor import PLATFORM_ADMIN, grants
from gateway.domain.apps import model as apps
from gateway.domain.apps.model import App
from gateway.domain.credentials import model as credentials
from gateway.domain.credentials.model import Credential
from gateway.domain.credits import service as credits
from gateway.domain.organizations import model as organizations
from gateway.domain.organizations.model import Organization
from gateway.domain.plans.conversion import limits_for
from gateway.domain.policy import repo
from gateway.domain.policy.repo import Subject
from gateway.domain.roles.catalog import catalog
from gateway.domain.users import model as users
from gateway.domain.users.model import User
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
        found = await repo.subject(self.work.session, row.organization_id, row.user_id, row.app_id)
        user, app, organization = found.user, found.app, found.organization
        role = PLATFORM_ADMIN if user is not None and user.is_platform_admin else found.role
        standing = _first(_of_key(row, self.work.now), _of_user(row.user_id, user), _of_app(app), _of(organization))
        scopes = catalog().expand(row.scopes)
        if user is not None and not user.is_platform_admin:
            scopes = catalog().within(scopes, catalog().of(role))
        return CredentialPolicy(
            id=row.id,
            name=row.name,
            kind=row.kind,
            organization=row.organization_id,
            user=row.user_id,
            app=row.app_id,
            role=role,
            plan=app.plan if app is not None else organization.plan if organization is not None else None,
            # An app is of no environment: its API knows no such thing.
            environment=None if app is not None else row.environment,
            status=standing.status,
            status_reason=standing.reason,
            expires_at=_seconds(row.expires_at),
            models=tuple(row.models),
            cidrs=tuple(row.cidrs),
            inference=grants(scopes, INFERENCE),
            limits=await self._limits(found, row.user_id, row.id),
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
        found = await repo.subject(self.work.session, organization, None, None)
        standing = _first(_of_user(user.id, user), _of(found.organization))
        return CredentialPolicy(
            id=id,
            name=user.id,
            kind=kind,
            organization=organization,
            user=user.id,
            role=role,
            plan=None if found.organization is None else found.organization.plan,
            status=standing.status,
            status_reason=standing.reason,
            expires_at=_seconds(expires_at),
            inference=grants(permissions, INFERENCE),
            limits=await self._limits(found, user.id, None),
        )

    async def limits_of(
        self, organization: str, *, user: str | None = None, key: str | None = None
    ) -> tuple[LimitPolicy, ...]:
        """Every limit that holds for an organisation, and for one of its users or keys."""
        found = await repo.subject(self.work.session, organization, None, None)
        return await self._limits(found, user, key)

    async def _former(self, row: Credential) -> CredentialPolicy:
        query = select(Credential).where(Credential.id == row.replaced_by)
        policy = await self.credential_policy((await self.work.session.scalars(query)).one())
        until = row.grace_until or self.work.now
        ends = until.timestamp() if policy.expires_at is None else min(until.timestamp(), policy.expires_at)
        policy = replace(policy, expires_at=ends)
        if until <= self.work.now and policy.status == "active":
            policy = replace(policy, status="revoked", status_reason="This key was rotated.")
        return policy

    async def _limits(self, found: Subject, user: str | None, key: str | None) -> tuple[LimitPolicy, ...]:
        organization = found.organization
        if organization is None:
            return ()
        limits = await repo.limits(self.work.session, organization.id, user, key)
        if found.plan is not None:
            limits += limits_for(found.plan, "organization", organization.id)
        if found.tier is not None and key is not None:
            limits += limits_for(found.tier, "key", key)
        if organization.prepaid:
            limits.append(credits.policy_of(organization.id, found.granted))
        return tuple(limits)


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
