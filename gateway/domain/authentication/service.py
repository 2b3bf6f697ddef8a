"""Whose credential is this: master key, static key, API key, app, our token or another issuer's."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from msgspec import structs
from sqlalchemy import select

from gateway.contract.policy import CredentialPolicy
from gateway.domain.actor import EVERYTHING, PLATFORM_ADMIN, SYSTEM, Actor
from gateway.domain.apps.model import APP_ID_PREFIX, App
from gateway.domain.authentication.identities import settle, settled
from gateway.domain.authentication.principal import Found, Origin, Principal, admitted
from gateway.domain.changes import repo as changes
from gateway.domain.credentials import repo as credentials
from gateway.domain.credentials.model import Credential
from gateway.domain.oidc.service import Identity, Issuers
from gateway.domain.policy.lookup import Looked, look
from gateway.domain.policy.service import PolicyService
from gateway.domain.roles.catalog import catalog
from gateway.domain.tokens.service import Claims, Tokens, kid_of
from gateway.domain.users import repo as users
from gateway.domain.users.model import User
from gateway.domain.users.service import DEFAULT_ROLE
from gateway.domain.work import Work, Works
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.secrets import digest_of
from gateway.settings.model import Key, Settings

MASTER = "master"
DEFAULT_ORGANIZATION = "default"
_ADMINISTRATIVE = frozenset({"*", "admin:*"})


class Authenticator:
    """Answers for every kind of credential. One for the whole process.

    Each answer is read as of one moment, with the number of the last change it has seen. Never call it within a work:
    a newcomer of another issuer is written in a work of its own.
    """

    def __init__(self, works: Works, settings: Settings, master_key: str, tokens: Tokens, issuers: Issuers) -> None:
        self._works = works
        self._tokens = tokens
        self._issuers = issuers
        self._master = digest_of(master_key.encode())
        self._environment = settings.server.environment
        self._static = {digest_of(key.key.encode()): key for key in settings.keys}

    async def resolve(self, secret: str | None, origin: Origin = Origin()) -> Principal:  # noqa: B008 - frozen
        """The caller behind a secret, if it may act now and from there.

        Raises UNAUTHENTICATED ``missing_api_key``, ``invalid_api_key``, ``revoked_api_key``, ``expired_api_key``,
        ``disabled_api_key``, ``invalid_token``, ``token_expired``, ``app_not_found`` for an app's credential that names
        none; SUSPENDED; FORBIDDEN ``address_not_allowed``, ``wrong_environment``.
        """
        if not secret:
            raise GatewayError(
                Kind.UNAUTHENTICATED, "missing_api_key", "Send an API key or a token as Authorization: Bearer …"
            )
        if self.is_token(secret):
            found = await self.by_token(secret)
            if found.principal is None:
                raise GatewayError(Kind.UNAUTHENTICATED, "invalid_token", "The token is not valid.")
        else:
            found = await self.by_digest(digest_of(secret.encode("utf-8", "replace")))
            if found.principal is None:
                await self._require_app(secret)
        principal = admitted(found.principal, origin, self._environment)
        actor = structs.replace(principal.actor, **structs.asdict(origin))
        return Principal(actor, principal.policy)

    def is_token(self, secret: str) -> bool:
        """Whether a secret is a JWT, ours or another issuer's; its signature is not looked at."""
        return kid_of(secret) is not None or self._issuers.knows(secret)

    async def by_digest(self, digest: bytes) -> Found:
        """Whose an opaque secret is, by its SHA-256; for ``app_…:sk_…`` that of the whole."""
        async with self._works.read(SYSTEM) as work:
            seq = await changes.current(work.session)
            if hmac.compare_digest(digest, self._master):
                return Found(seq, Principal(_master_actor(), _policy_of(MASTER, "master", DEFAULT_ORGANIZATION)))
            static = self._static.get(digest)
            if static is not None:
                return Found(seq, _of_static(static))
            row = await credentials.by_digest(work.session, digest)
            return Found(seq, None if row is None else await self._of_credential(work, row))

    async def policies(self, digests: Sequence[bytes]) -> Looked:
        """What holds for opaque secrets, by their SHA-256, all as of one moment; at most ``lookup.MOST``.

        Who is missing is unknown, or is known by the configuration alone: the master key and static keys.
        """
        asked = [one for one in digests if not hmac.compare_digest(one, self._master) and one not in self._static]
        return await self._works.look(lambda connection, now: look(connection, asked, now))

    async def by_token(self, token: str) -> Found:
        """Whose a JWT is. None for one that is not valid; raises UNAUTHENTICATED ``token_expired`` for one that was,
        UNAVAILABLE ``issuer_unavailable``, FORBIDDEN ``email_not_verified``."""
        if self._issuers.knows(token):
            return await self._by_issuer(token)
        async with self._works.read(SYSTEM) as work:
            seq = await changes.current(work.session)
            try:
                claims = await self._tokens.verify(work, token)
            except GatewayError as error:
                if error.code == "invalid_token":
                    return Found(seq)
                raise
            if not await self._tokens.is_live(work, claims):
                return Found(seq)
            return Found(seq, await self._of_claims(work, claims))

    async def _require_app(self, secret: str) -> None:
        app_id, colon, _ = secret.partition(":")
        if not colon or not app_id.startswith(APP_ID_PREFIX):
            return
        async with self._works.read(SYSTEM) as work:
            if await work.session.scalar(select(App.number).where(App.app_id == app_id)) is None:
                raise GatewayError(Kind.UNAUTHENTICATED, "app_not_found", "There is no app with this id.")

    async def _by_issuer(self, token: str) -> Found:
        async with self._works.read(SYSTEM) as work:
            seq, now = await changes.current(work.session), work.now
        try:
            identity = await self._issuers.verify(token, now)
        except GatewayError as error:
            if error.code == "invalid_token":
                return Found(seq)
            raise
        found = await self._read_identity(identity)
        if found is None:
            try:
                await settle(self._works, identity)
            except GatewayError as error:
                if error.kind is not Kind.CONFLICT:  # two requests of a newcomer at once: the other one was first
                    raise
            found = await self._read_identity(identity)
        return found or Found(seq)

    async def _read_identity(self, identity: Identity) -> Found | None:
        async with self._works.read(SYSTEM) as work:
            seq = await changes.current(work.session)
            known = await settled(work, identity)
            if known is None:
                return None
            user, organization, role = known
            policy = await PolicyService(work).user_policy(
                user,
                id=user.id,
                kind="oidc",
                organization=organization,
                role=role,
                permissions=catalog().of(role),
                expires_at=identity.expires_at,
            )
            return Found(seq, Principal(_user_actor(user, organization, role), policy))

    async def _of_claims(self, work: Work, claims: Claims) -> Principal | None:
        user = await users.by_id(work.session, claims.user)
        role = None if user is None else await role_in(work, user, claims.organization)
        if user is None or role is None:
            return None
        policy = await PolicyService(work).user_policy(
            user,
            id=claims.session,
            kind="jwt",
            organization=claims.organization,
            role=role,
            permissions=catalog().of(role),
            expires_at=claims.expires_at,
        )
        return Principal(_user_actor(user, claims.organization, role), policy)

    async def _of_credential(self, work: Work, row: Credential) -> Principal:
        policy = await PolicyService(work).credential_policy(row)
        if row.replaced_by is not None:  # a former secret does what its key may do now
            row = await credentials.by_reference(work.session, row.replaced_by) or row
        permissions = catalog().expand(row.scopes)
        role, email = None, None
        user = None if row.user_id is None else await users.by_id(work.session, row.user_id)
        if user is not None:
            email = user.email
            role = await role_in(work, user, row.organization_id)
            # A key never does more than its user may, and speaks for the platform only if it was made for all of that.
            if role != PLATFORM_ADMIN:
                permissions = catalog().within(permissions, catalog().of(role))
            elif not _ADMINISTRATIVE & set(row.scopes):
                role = DEFAULT_ROLE
        actor = Actor(
            kind="credential",
            id=policy.id,
            organization=row.organization_id,
            user=row.user_id,
            role=role,
            permissions=permissions,
            email=email,
        )
        return Principal(actor, policy)


async def role_in(work: Work, user: User, organization: str) -> str | None:
    """What a user is in an organisation; None where they don't belong to it."""
    if user.is_platform_admin:
        return PLATFORM_ADMIN
    member = await users.membership(work.session, user.id, organization)
    return None if member is None else member.role


def _master_actor() -> Actor:
    return Actor(kind="master", id=MASTER, organization=DEFAULT_ORGANIZATION, permissions=EVERYTHING)


def _user_actor(user: User, organization: str, role: str) -> Actor:
    return Actor(
        kind="user",
        id=user.id,
        organization=organization,
        user=user.id,
        role=role,
        permissions=catalog().of(role),
        email=user.email,
    )


def _of_static(key: Key) -> Principal:
    permissions = catalog().of(DEFAULT_ROLE)
    actor = Actor(kind="static", id=key.name, organization=key.organization, role=DEFAULT_ROLE, permissions=permissions)
    policy = _policy_of(key.name, "static", key.organization)
    return Principal(actor, structs.replace(policy, plan=key.plan, models=key.models))


def _policy_of(id: str, kind: str, organization: str) -> CredentialPolicy:
    return CredentialPolicy(id=id, name=id, kind=kind, organization=organization)
