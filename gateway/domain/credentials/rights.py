"""Who may see and change which credential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace
from sqlalchemy import select

from gateway.domain.actor import Actor
from gateway.domain.credentials import repo, restrictions
from gateway.domain.credentials.model import APP, Credential
from gateway.domain.credentials.requests import CredentialFilter
from gateway.domain.users.model import User
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

READ, WRITE = "keys:read", "keys:write"
APPS_READ, APPS_WRITE = "apps:read", "apps:write"
_OWN_READ, _OWN_WRITE = "api:read", "api:write"
_RESTRICTED = ("models", "cidrs", "environment", "expires_at")


def may_read(actor: Actor, row: Credential) -> bool:
    """Its own, its user's, its organisation's with ``keys:read`` (``apps:read``), everyone's for the platform."""
    permission = APPS_READ if row.kind == APP else READ
    return is_itself(actor, row) or actor.may(permission, row.organization_id) or _is_own(actor, row, _OWN_READ)


def is_itself(actor: Actor, row: Credential) -> bool:
    """Whether it is this very key that acts."""
    return actor.kind == "credential" and actor.id == row.id


def may_write(actor: Actor, row: Credential) -> bool:
    """Its user's, its organisation's with ``keys:write`` (``apps:write``), everyone's for the platform."""
    permission = APPS_WRITE if row.kind == APP else WRITE
    return actor.may(permission, row.organization_id) or _is_own(actor, row, _OWN_WRITE)


def may_make(actor: Actor, organization: str, user: str | None) -> bool:
    """For oneself in one's own organisation; for others or nobody with ``keys:write``."""
    return actor.may(WRITE, organization) or (
        user is not None and user == actor.user and organization == actor.organization and _speaks(actor, _OWN_WRITE)
    )


async def require_within(work: Work, asked: Mapping[str, Any]) -> None:
    """Raise FORBIDDEN where a key would give more than its own restrictions allow, see
    :func:`restrictions.require_within`. A person who signed in has none."""
    if work.actor.kind == "credential":
        maker = await repo.by_reference(work.session, work.actor.id)
        if maker is not None:
            restrictions.require_within(maker, asked)


async def require_all_of(work: Work, row: Credential) -> None:
    """Raise FORBIDDEN unless the actor may do all that a key may: for being told its secret.

    A key that asks for itself has that, and so has a person who signed in and asks for their own: a key does no more
    than its user may. What an app may do goes with ``apps:write``.
    """
    actor = work.actor
    if is_itself(actor, row):
        return
    await require_within(work, {name: getattr(row, name) for name in _RESTRICTED})
    if row.kind == APP or (actor.kind == "user" and actor.user == row.user_id):
        return
    for scope in row.scopes:
        actor.require(scope, row.organization_id)
    await require_over(work, row.user_id)


async def require_over(work: Work, user: str | None) -> None:
    """Raise FORBIDDEN where a key is, or would be, of an administrator of the platform and the actor is neither they
    nor the platform: with wide scopes it speaks for the platform."""
    if user in (None, work.actor.user):
        return
    if await work.session.scalar(select(User.is_platform_admin).where(User.id == user)):
        work.actor.require_platform()


def _is_own(actor: Actor, row: Credential, permission: str) -> bool:
    mine = actor.user is not None and actor.user == row.user_id and actor.organization == row.organization_id
    return mine and _speaks(actor, permission)


def _speaks(actor: Actor, permission: str) -> bool:
    # A person who signed in manages their own keys; a key of theirs does so only where its scopes reach that far.
    return actor.kind == "user" or actor.may(permission)


def not_found() -> GatewayError:
    """The error for a key that does not exist, and for one whose existence is not the actor's business."""
    return GatewayError(Kind.NOT_FOUND, "credential_not_found", "There is no such key.", "key_id")


def forbidden(permission: str = WRITE) -> GatewayError:
    """The error for what needs a permission where the keys are not one's own."""
    message = f"This needs the permission {permission}, or to be the key's own user."
    return GatewayError(Kind.FORBIDDEN, "insufficient_permissions", message)


def confined(actor: Actor, chosen: CredentialFilter) -> CredentialFilter:
    """The filter with what the actor may list: everything, their organisation's, or their own.

    Raises :func:`forbidden` for an organisation or a user they may not look into.
    """
    if actor.is_platform_admin:
        return chosen
    if chosen.organization not in (None, actor.organization):
        raise forbidden(READ)
    within = replace(chosen, organization=actor.organization)
    if actor.may(READ):
        return within
    if actor.user is None or chosen.user not in (None, actor.user) or not _speaks(actor, _OWN_READ):
        raise forbidden(READ)
    return replace(within, user=actor.user)
