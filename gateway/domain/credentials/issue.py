"""Making secrets and putting them in place, for keys and for apps alike."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import select

from gateway.domain.credentials import repo
from gateway.domain.credentials.model import APP, Credential
from gateway.domain.credentials.secret import app_bearer, new_secret
from gateway.domain.fields import invalid
from gateway.domain.organizations.model import DELETED, Organization
from gateway.domain.users.model import Membership, User
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.secrets import Seal, digest_of

DEFAULT_ORGANIZATION = "default"
_SHOWN = ("name", "kind", "prefix", "user_id", "app_id", "scopes", "models", "cidrs", "environment", "expires_at")


async def organization_of(work: Work, given: str | None) -> str:
    """The organisation a new credential is for: the one given, the actor's, or ``default``.

    Raises NOT_FOUND ``organization_not_found``, also for another's where the actor may not know of it.
    """
    id = given or work.actor.organization or DEFAULT_ORGANIZATION
    visible = work.actor.is_platform_admin or id == work.actor.organization
    status = await work.session.scalar(select(Organization.status).where(Organization.id == id)) if visible else None
    if status is None or status == DELETED:
        raise GatewayError(
            Kind.NOT_FOUND, "organization_not_found", f"There is no organization {id!r}.", "organization_id"
        )
    return id


async def member(work: Work, user: str, organization: str) -> str:
    """The id of a user of the organisation. Raises INVALID ``unknown_user``."""
    home = select(User.id).where(User.id == user, User.organization_id == organization)
    other = select(Membership.user_id).where(Membership.user_id == user, Membership.organization_id == organization)
    if await work.session.scalar(home.union(other)) is None:
        raise invalid("user_id must be a user of the key's organization.", "user_id", "unknown_user")
    return user


async def insert(work: Work, row: Credential) -> str:
    """Give a new credential its secret, write it, and record that it was made. Gives what its holder sends."""
    bearer = _put_secret(row, work.seal)
    row.created_at = row.updated_at = work.now
    work.session.add(row)
    await work.session.flush()
    after = shown(row, _SHOWN)
    await work.audit("auth.api_key.created", "api_key", row.id, after=after, organization=row.organization_id)
    work.changed("credential", row.id, row.digest)
    return bearer


async def replace_secret(work: Work, row: Credential, until: datetime) -> str:
    """Give a credential another secret and keep the old one in a row of its own. Gives what its holder sends."""
    kept = {attribute.key: getattr(row, attribute.key) for attribute in Credential.__mapper__.column_attrs}
    bearer = _put_secret(row, work.seal)
    row.updated_at = work.now
    # The digest is unique: the key must have let go of the old one first.
    await work.session.flush()
    del kept["number"], kept["id"]
    old = kept | {"grace_until": until, "replaced_by": row.id, "updated_at": work.now}
    work.session.add(Credential(**old))
    await work.session.flush()
    return bearer


async def mark(work: Work, row: Credential) -> None:
    """Tell the data plane that a key changed, under each of its secrets."""
    work.changed("credential", row.id, row.digest)
    for old in await repo.old_secrets(work.session, row.id):
        work.changed("credential", row.id, old.digest)


def shown(row: Credential, names: Iterable[str]) -> dict[str, Any]:
    """Columns as the audit log has them: no secret, no digest."""
    values = {name: getattr(row, name) for name in names}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def _put_secret(row: Credential, seal: Seal) -> str:
    secret = new_secret(row.prefix, seal)
    bearer = app_bearer(row.app_id, secret) if row.kind == APP and row.app_id is not None else secret
    row.digest = digest_of(bearer.encode())
    row.last4 = secret[-4:]
    return bearer
