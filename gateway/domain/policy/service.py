"""What holds for a credential or a user, put together from keys, users, organisations, plans, limits and money."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from gateway.contract.policy import CredentialPolicy, LimitPolicy
from gateway.domain.actor import grants
from gateway.domain.credentials.model import Credential
from gateway.domain.policy import compose, repo
from gateway.domain.users.model import User
from gateway.domain.work import Work


class PolicyService:
    """Composes policies, within one work. It asks for no permission: what it gives is for the data plane.

    One at a time; :mod:`gateway.domain.policy.lookup` reads those of many keys at once.
    """

    def __init__(self, work: Work) -> None:
        self.work = work

    async def credential_policy(self, row: Credential) -> CredentialPolicy:
        """The policy of a key or an app's credential; for a former secret that of its key, ending with the grace."""
        if row.replaced_by is not None:
            query = select(Credential).where(Credential.id == row.replaced_by)
            policy = await self.credential_policy((await self.work.session.scalars(query)).one())
            return compose.of_former(policy, row.grace_until, self.work.now)
        found = await repo.subject(self.work.session, row.organization_id, row.user_id, row.app_id)
        limits = await repo.limits(self.work.session, row.organization_id, row.user_id, row.id)
        return compose.of_credential(row, found, limits, self.work.now)

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
        limits = await repo.limits(self.work.session, organization, user.id, None)
        standing = compose.first(compose.of_user(user.id, user), compose.of_organization(found.organization))
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
            expires_at=compose.seconds(expires_at),
            inference=grants(permissions, compose.INFERENCE),
            limits=compose.all_limits(found, limits, None),
        )

    async def limits_of(
        self, organization: str, *, user: str | None = None, key: str | None = None
    ) -> tuple[LimitPolicy, ...]:
        """Every limit that holds for an organisation, and for one of its users or keys."""
        found = await repo.subject(self.work.session, organization, None, None)
        limits = await repo.limits(self.work.session, organization, user, key)
        return compose.all_limits(found, limits, key)
