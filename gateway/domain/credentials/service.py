"""Credentials: made, listed, changed, rotated, revoked. A secret is given once, by ``create`` and ``rotate``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec import UNSET

from gateway.domain.credentials import issue, repo, restrictions, rights
from gateway.domain.credentials.model import ACTIVE, DISABLED, REVOKED, Credential
from gateway.domain.credentials.requests import CredentialFilter, CredentialPage, CredentialUpdate, NewCredential
from gateway.domain.credentials.secret import ENVIRONMENTS, key_prefix
from gateway.domain.fields import amount, future, invalid, page, text
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

LONGEST_GRACE = 30 * 86_400  # seconds
MOST_FORMER = 10
"""Former secrets of a key that can be good at once; rotated once more, the oldest is dead."""
_ALIASES = {"dev": "development"}


class CredentialService:
    """What can be done with credentials, within one work.

    A reference is a key's id (``key_…``) or number. What the actor may not see raises NOT_FOUND
    ``credential_not_found``; what they may not do FORBIDDEN ``insufficient_permissions``; bad input INVALID.
    """

    def __init__(self, work: Work) -> None:
        self.work = work

    async def create(self, asked: NewCredential) -> tuple[Credential, str]:
        """Make a key; gives its row and the secret, which is kept nowhere."""
        work = self.work
        organization = await issue.organization_of(work, asked.organization)
        user = work.actor.user if asked.user is UNSET else asked.user
        if not rights.may_make(work.actor, organization, user):
            raise rights.forbidden()
        if user is not None:
            user = await issue.member(work, user, organization)
            await rights.require_over(work, user)
        environment = _ALIASES.get(asked.environment, asked.environment)
        if environment not in ENVIRONMENTS:
            raise invalid(f"environment must be one of {', '.join(ENVIRONMENTS)}.", "environment")
        scopes = restrictions.scopes(asked.scopes, asked.scope_permissions, work.actor, organization)
        administrative = bool({"*", "admin:*"} & set(scopes))
        restricted = {
            "models": restrictions.models(asked.models),
            "cidrs": restrictions.networks(asked.cidrs),
            "environment": environment,
            "expires_at": future(asked.expires_at, work.now, "expires_at"),
        }
        await rights.require_within(work, restricted)
        row = Credential(
            prefix=key_prefix(asked.family, environment, administrative=administrative),
            name=text(asked.name, "name"),
            organization_id=organization,
            user_id=user,
            scopes=scopes,
            scope_permissions=asked.scope_permissions,
            **restricted,
        )
        return row, await issue.insert(work, row)

    async def list(
        self,
        chosen: CredentialFilter | None = None,
        *,
        limit: int = 50,
        offset: int = 0,
        after: int | None = None,
        newest_first: bool = False,
    ) -> CredentialPage:
        """Keys in the order they were made, or ``newest_first``; beyond the number ``after`` where given.

        Without ``keys:read``: one's own alone.
        """
        chosen = rights.confined(self.work.actor, chosen or CredentialFilter())
        limit, offset = page(limit, offset)
        rows, total = await repo.page(self.work.session, chosen, limit, offset, after, newest_first=newest_first)
        return CredentialPage(tuple(rows), total)

    async def get(self, reference: str | int) -> Credential:
        """One key."""
        return await self._found(reference)

    async def update(self, reference: str | int, asked: CredentialUpdate) -> Credential:
        """Change a key. Raises CONFLICT ``credential_revoked`` for one that is revoked."""
        row = await self._writable(reference)
        values = self._values(row, asked)
        await rights.require_within(self.work, values)
        if not set(values.get("scopes", ())) <= set(row.scopes):
            await rights.require_over(self.work, row.user_id)
        before = issue.shown(row, values)
        for name, value in values.items():
            setattr(row, name, value)
        if before == issue.shown(row, values):
            return row
        row.updated_at = self.work.now
        await self._conclude("updated", row, before, issue.shown(row, values))
        return row

    async def rotate(self, reference: str | int, *, grace_seconds: int = 0) -> tuple[Credential, str]:
        """Give a key another secret; the old one works ``grace_seconds`` longer, then is dead by itself.

        The key keeps its id, its limits and what it has used of them. Raises CONFLICT ``credential_revoked``, and
        FORBIDDEN for a key that may do what the actor may not: whoever is told its secret can do all of it.
        """
        row = await self._writable(reference, itself=True)
        await rights.require_all_of(self.work, row)
        grace = amount(grace_seconds, "grace_seconds", most=LONGEST_GRACE)
        await self._retire_secrets(row)
        until = self.work.now + timedelta(seconds=grace)
        secret = await issue.replace_secret(self.work, row, until)
        await self._conclude("rotated", row, {}, {"grace_until": until.isoformat()})
        return row, secret

    async def revoke(self, reference: str | int, *, once: bool = False) -> Credential:
        """End a key for good, and with it every old secret of it.

        Revoking it again changes nothing, or with ``once`` raises NOT_FOUND: of two who delete it, one has.
        """
        row = await self._writable(reference, itself=True, revoked=True)
        if row.status == REVOKED:
            if once:
                raise rights.not_found()
            return row
        before = {"status": row.status}
        row.status, row.revoked_at, row.updated_at = REVOKED, self.work.now, self.work.now
        await self._conclude("revoked", row, before, {"status": REVOKED})
        return row

    async def _retire_secrets(self, row: Credential) -> None:
        """Forget former secrets that are dead, and end the oldest where too many are still good."""
        olds = await repo.old_secrets(self.work.session, row.id)
        living = [old for old in olds if old.grace_until is not None and old.grace_until > self.work.now]
        for old in living[: max(0, len(living) - MOST_FORMER + 1)]:
            old.grace_until = self.work.now
        for old in olds:
            if old not in living:
                await self.work.session.delete(old)

    async def _found(self, reference: str | int, *, lock: bool = False) -> Credential:
        row = await repo.by_reference(self.work.session, reference, lock=lock)
        if row is None or not rights.may_read(self.work.actor, row):
            raise rights.not_found()
        return row

    async def _writable(self, reference: str | int, *, itself: bool = False, revoked: bool = False) -> Credential:
        """A key the actor may change. ``itself``: also the key that acts, which proves its secret is known."""
        row = await self._found(reference, lock=True)
        if not (rights.may_write(self.work.actor, row) or (itself and rights.is_itself(self.work.actor, row))):
            raise rights.forbidden()
        if row.status == REVOKED and not revoked:
            raise GatewayError(Kind.CONFLICT, "credential_revoked", "This key is revoked; make a new one.", "key_id")
        return row

    def _values(self, row: Credential, asked: CredentialUpdate) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if asked.name is not UNSET:
            values["name"] = text(asked.name, "name")
        if asked.is_active is not UNSET:
            values["status"] = ACTIVE if asked.is_active else DISABLED
        if asked.scopes is not UNSET:
            actor, organization = self.work.actor, row.organization_id
            values["scopes"] = restrictions.check_scopes(asked.scopes, row.scopes, actor, organization)
            values["scope_permissions"] = None
        if asked.models is not UNSET:
            values["models"] = restrictions.models(asked.models)
        if asked.cidrs is not UNSET:
            values["cidrs"] = restrictions.networks(asked.cidrs)
        if asked.expires_at is not UNSET:
            values["expires_at"] = future(asked.expires_at, self.work.now, "expires_at")
        return values

    async def _conclude(self, verb: str, row: Credential, before: dict[str, Any], after: dict[str, Any]) -> None:
        await self.work.audit(
            f"auth.api_key.{verb}", "api_key", row.id, before=before, after=after, organization=row.organization_id
        )
        await issue.mark(self.work, row)
