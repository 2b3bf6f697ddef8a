"""Whom a limit or a budget is for: whose it is, who may set it, and who must hear of it."""

from __future__ import annotations

from typing import get_args

from sqlalchemy import select

from gateway.contract.policy import Scope
from gateway.domain.actor import Actor
from gateway.domain.credentials import repo as credentials
from gateway.domain.fields import invalid
from gateway.domain.limits.model import ORGANIZATION, PLATFORM
from gateway.domain.organizations.model import Organization
from gateway.domain.users.model import User
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

READ, WRITE = "limits:read", "limits:write"
SCOPES: tuple[str, ...] = get_args(Scope)
OWNED = ("key", "user", "organization")
SHARED = ("model", "provider", "global")
"""Scopes that belong to an organisation, and those that are the platform's."""


async def owner_of(work: Work, scope: str, scope_id: str) -> str | None:
    """The id of the organisation that a scope belongs to; None for those of the platform.

    Raises INVALID for an unknown scope, NOT_FOUND where there is no such key, user or organisation, also for another
    organisation's.
    """
    if scope not in SCOPES:
        raise invalid(f"scope must be one of {', '.join(SCOPES)}.", "scope")
    if scope not in OWNED:
        return None
    owner = await _owner(work, scope, scope_id)
    if owner is None or not (work.actor.is_platform_admin or owner == work.actor.organization):
        raise GatewayError(Kind.NOT_FOUND, f"{scope}_not_found", f"There is no {scope} {scope_id!r}.", "scope_id")
    return owner


async def _owner(work: Work, scope: str, scope_id: str) -> str | None:
    session = work.session
    if scope == "key":
        row = await credentials.by_reference(session, scope_id)
        # Numbers are for people; a limit is kept under the id that its use is counted under.
        return row.organization_id if row is not None and row.id == scope_id else None
    if scope == "user":
        return await session.scalar(select(User.organization_id).where(User.id == scope_id))
    return await session.scalar(select(Organization.id).where(Organization.id == scope_id))


def require_read(actor: Actor, scope: str, scope_id: str, owner: str | None) -> None:
    """Raise FORBIDDEN unless the actor may see what is set: ``limits:read``, or it is their own."""
    mine = actor.organization is not None and actor.organization == owner
    if mine and ((scope == "user" and scope_id == actor.user) or (scope == "key" and scope_id == actor.id)):
        return
    actor.require(READ, owner)
    if owner is None:
        actor.require_platform()


def require_write(actor: Actor, scope: str, owner: str | None) -> str:
    """Who sets it, ``platform`` or ``organization``. Raises FORBIDDEN unless the actor may.

    What holds for an organisation as a whole, a model or everyone is the platform's to say: an organisation could
    otherwise lift what was laid on it.
    """
    if actor.is_platform_admin:
        return PLATFORM
    if scope not in ("key", "user"):
        actor.require_platform()
    actor.require(WRITE, owner)
    return ORGANIZATION


def require_change(actor: Actor, set_by: str) -> None:
    """Raise FORBIDDEN unless the actor may change what ``set_by`` has set."""
    if set_by == PLATFORM:
        actor.require_platform()


def mark(work: Work, scope: str, scope_id: str) -> None:
    """Tell the data plane whose policies changed."""
    if scope == "key":
        work.changed("credential", scope_id)
    elif scope == "user":
        work.changed("user", scope_id)
    elif scope == "organization":
        work.changed("organization", scope_id)
    else:
        work.changed("everything", scope)
