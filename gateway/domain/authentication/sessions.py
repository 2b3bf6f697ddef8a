"""Signing in with email and password, staying signed in, signing out."""

from __future__ import annotations

from msgspec import Struct

from gateway.contract.standing import suspended
from gateway.domain.actor import Actor, anonymous
from gateway.domain.authentication.principal import Origin
from gateway.domain.authentication.service import role_in
from gateway.domain.organizations import model as organizations
from gateway.domain.organizations import repo as organization_rows
from gateway.domain.organizations.model import Organization
from gateway.domain.tokens.service import TokenPair, Tokens, invalid_token
from gateway.domain.users import model, passwords
from gateway.domain.users import repo as users
from gateway.domain.users.attempts import Attempts
from gateway.domain.users.model import User
from gateway.domain.work import Work, Works
from gateway.kernel.errors import GatewayError, Kind

_NOWHERE = Origin()


class Session(Struct, frozen=True):
    """A sign-in: who, where, as what, and the tokens of it."""

    user: User
    organization: Organization
    role: str
    tokens: TokenPair


class Sessions:
    """Signs people in and out. One for the whole process: it counts how often it was tried.

    Passwords are checked outside of any transaction, so that nobody waits for a write while one is computed.
    """

    def __init__(self, works: Works, tokens: Tokens, attempts: Attempts | None = None) -> None:
        self._works = works
        self._tokens = tokens
        self._attempts = attempts or Attempts()

    async def sign_in(self, email: str, password: str, origin: Origin = _NOWHERE) -> Session:
        """Sign in to the user's own organisation.

        Raises UNAUTHENTICATED ``invalid_credentials``, the same and after the same time for an unknown user;
        RATE_LIMITED ``too_many_attempts``; FORBIDDEN ``account_disabled``; SUSPENDED ``tenant_suspended``.
        """
        email = users.fold(email)[:320]
        self._attempts.take(email, origin.address)
        who = anonymous(origin.address, origin.user_agent, origin.request_id, email)
        async with self._works.read(who) as work:
            found = await users.by_email(work.session, email)
        stored = None if found is None else found.password_hash
        if not await passwords.matches(stored, password) or found is None or stored is None:
            await self._refuse(who, found)
            raise GatewayError(Kind.UNAUTHENTICATED, "invalid_credentials", "The email or the password is wrong.")
        fresh = await passwords.hashed(password) if passwords.is_outdated(stored) else None
        async with self._works.begin(_actor(found, origin)) as work:
            user, organization, role = await self._standing(work, found.id, found.organization_id)
            if user.password_hash != stored:  # changed meanwhile, and whoever signed in with the old one signed out
                raise GatewayError(Kind.UNAUTHENTICATED, "invalid_credentials", "The email or the password is wrong.")
            user.password_hash = fresh or stored
            user.last_login_at = work.now
            pair = await self._tokens.issue(work, user.id, organization.id)
            await work.audit("auth.login", "user", user.id, organization=organization.id)
        self._attempts.succeeded(email, origin.address)
        return Session(user, organization, role, pair)

    async def renew(self, refresh_token: str, origin: Origin = _NOWHERE) -> Session:
        """New tokens for a refresh token, which is used up by it.

        Raises UNAUTHENTICATED ``invalid_token``, also for a token that was used before, which ends its sign-in;
        ``token_expired``; FORBIDDEN ``account_disabled``; SUSPENDED ``tenant_suspended``.
        """
        session: Session | None = None
        async with self._works.begin(anonymous(origin.address, origin.user_agent, origin.request_id)) as work:
            claims = await self._tokens.verify(work, refresh_token, "refresh")
            pair = await self._tokens.renew(work, refresh_token)
            if pair is not None:
                session = Session(*await self._standing(work, claims.user, claims.organization), pair)
        if session is None:
            raise invalid_token()
        return session

    async def sign_out(self, token: str, origin: Origin = _NOWHERE) -> None:
        """End the sign-in of an access token. Raises UNAUTHENTICATED for one that is not valid."""
        async with self._works.begin(anonymous(origin.address, origin.user_agent, origin.request_id)) as work:
            claims = await self._tokens.verify(work, token)
            await self._tokens.revoke(work, claims.session)

    async def _standing(self, work: Work, id: str, organization_id: str) -> tuple[User, Organization, str]:
        user = await users.by_id(work.session, id, lock=True)
        organization = await organization_rows.by_id(work.session, organization_id)
        role = None if user is None else await role_in(work, user, organization_id)
        if user is None or organization is None or role is None or organization.status == organizations.DELETED:
            raise invalid_token()
        if user.status != model.ACTIVE:
            raise GatewayError(Kind.FORBIDDEN, "account_disabled", f"This account is {user.status}.")
        if organization.status == organizations.SUSPENDED:
            raise suspended("tenant", organization.status_reason)
        return user, organization, role

    async def _refuse(self, who: Actor, user: User | None) -> None:
        async with self._works.begin(who) as work:
            await work.audit(
                "auth.login",
                "user",
                None if user is None else user.id,
                organization=None if user is None else user.organization_id,
                severity="warning",
                status="failure",
            )


def _actor(user: User, origin: Origin) -> Actor:
    return Actor(
        kind="user",
        id=user.id,
        organization=user.organization_id,
        user=user.id,
        email=user.email,
        address=origin.address,
        user_agent=origin.user_agent,
        request_id=origin.request_id,
    )
