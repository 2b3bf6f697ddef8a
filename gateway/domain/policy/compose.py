"""What a policy is, given what was read: pure functions over rows, whichever way those were read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from msgspec.structs import replace

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
from gateway.domain.policy.repo import Subject
from gateway.domain.roles.catalog import catalog
from gateway.domain.users import model as users
from gateway.domain.users.model import User

INFERENCE = "inference"


class Standing(NamedTuple):
    """Whether something may be used; ``reason`` is for whoever is refused."""

    status: Status
    reason: str | None = None


_ACTIVE = Standing("active")


def of_credential(row: Credential, found: Subject, set_limits: list[LimitPolicy], now: datetime) -> CredentialPolicy:
    """The policy of a key or an app's credential. ``set_limits`` are the limits and budgets that were set for them."""
    user, app, organization = found.user, found.app, found.organization
    role = PLATFORM_ADMIN if user is not None and user.is_platform_admin else found.role
    standing = first(_of_key(row, now), of_user(row.user_id, user), _of_app(app), of_organization(organization))
    # A key does no more than its user may.
    bound = user is not None and not user.is_platform_admin
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
        expires_at=seconds(row.expires_at),
        models=tuple(row.models),
        cidrs=tuple(row.cidrs),
        inference=_may_infer(tuple(row.scopes), bound, role),
        limits=all_limits(found, set_limits, row.id),
    )


def of_former(policy: CredentialPolicy, grace_until: datetime | None, now: datetime) -> CredentialPolicy:
    """The policy of a secret that was rotated away: that of its key, which ends with the grace."""
    until = grace_until or now
    ends = until.timestamp() if policy.expires_at is None else min(until.timestamp(), policy.expires_at)
    policy = replace(policy, expires_at=ends)
    if until <= now and policy.status == "active":
        policy = replace(policy, status="revoked", status_reason="This key was rotated.")
    return policy


def all_limits(found: Subject, set_limits: Iterable[LimitPolicy], key: str | None) -> tuple[LimitPolicy, ...]:
    """What was set, then what comes with the organisation's plan, the app's tier and the credit."""
    organization = found.organization
    if organization is None:
        return ()
    limits = list(set_limits)
    if found.plan is not None:
        limits += limits_for(found.plan, "organization", organization.id)
    if found.tier is not None and key is not None:
        limits += limits_for(found.tier, "key", key)
    if organization.prepaid:
        limits.append(credits.policy_of(organization.id, found.granted))
    return tuple(limits)


def of_user(id: str | None, user: User | None) -> Standing:
    """Of whoever is behind a credential; ``id`` is None where nobody is."""
    if id is None or (user is not None and user.status == users.ACTIVE):
        return _ACTIVE
    return Standing("disabled", "The key's user may not use the gateway.")


def of_organization(organization: Organization | None) -> Standing:
    """Of the organisation that pays; None is one that is gone."""
    if organization is None or organization.status == organizations.DELETED:
        return Standing("disabled", "The organization no longer exists.")
    if organization.status == organizations.SUSPENDED:
        return Standing("suspended", organization.status_reason or "The organization is suspended.")
    return _ACTIVE


def first(*standings: Standing) -> Standing:
    """The first that stands in the way: what is final before what may pass."""
    return next((standing for standing in standings if standing.status != "active"), _ACTIVE)


def seconds(at: datetime | None) -> float | None:
    """Unix seconds."""
    return None if at is None else at.timestamp()


def _of_key(row: Credential, now: datetime) -> Standing:
    if row.status == credentials.REVOKED:
        return Standing("revoked", "This key was revoked.")
    if row.expires_at is not None and row.expires_at <= now:
        return Standing("expired", "This key has expired.")
    return Standing("disabled", "This key is disabled.") if row.status == credentials.DISABLED else _ACTIVE


def _of_app(app: App | None) -> Standing:
    if app is None or app.status == apps.ACTIVE:
        return _ACTIVE
    return Standing("suspended", app.status_reason or "The app is suspended.")


@lru_cache(1_024)
def _may_infer(scopes: tuple[str, ...], bound: bool, role: str | None) -> bool:
    """Whether scopes come to calls of models; of those of a user with that role where they are ``bound`` to one."""
    expanded = catalog().expand(scopes)
    return grants(catalog().within(expanded, catalog().of(role)) if bound else expanded, INFERENCE)
