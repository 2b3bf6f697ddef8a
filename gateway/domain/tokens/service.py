"""Our own JWTs (RFC 7519): an access token for an hour, and a refresh token that is good for one use."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from msgspec import Struct

from gateway.domain.tokens import repo
from gateway.domain.tokens.model import RefreshFamily
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.ids import new_id
from gateway.settings.model import Jwt

if TYPE_CHECKING:
    from gateway.domain.tokens.keys import KeyRing

LEEWAY = 30  # seconds that clocks may differ
LONGEST = 8_192  # characters; ours are under a thousand
Use: TypeAlias = Literal["access", "refresh"]
_REQUIRED = ("iss", "aud", "sub", "exp", "nbf", "iat", "jti", "use", "org", "sid")


class Claims(Struct, frozen=True):
    """What a token says: whose it is (an id), for which organisation, of which sign-in, and until when."""

    user: str
    organization: str
    session: str
    jti: str
    expires_at: datetime


class TokenPair(Struct, frozen=True):
    """The tokens of a sign-in. ``expires_in`` is seconds, of the access token."""

    access_token: str
    refresh_token: str
    expires_in: int
    refresh_expires_in: int
    token_type: str = "Bearer"  # noqa: S105 - the type's name


class Tokens:
    """Gives, verifies, renews and revokes tokens. One for the whole process: it keeps the keys it has read."""

    def __init__(self, settings: Jwt, master_key: str) -> None:
        self._settings = settings
        self._master_key = master_key
        # A sign-in is remembered as long as any of its tokens may be shown.
        self._longest = timedelta(seconds=max(settings.access_ttl, settings.refresh_ttl) + LEEWAY)

    @cached_property
    def keys(self) -> KeyRing:
        """The keys they are signed with."""
        # Loaded with the first token: the cryptography behind it is a tenth of the process.
        from gateway.domain.tokens.keys import KeyRing  # noqa: PLC0415

        return KeyRing(self._master_key, self._settings.algorithm, self._longest)

    async def issue(self, work: Work, user: str, organization: str) -> TokenPair:
        """Begin a sign-in of a user (an id) for an organisation (an id), and forget those that are over."""
        await repo.prune(work.session, work.now)
        family = RefreshFamily(
            id=new_id("ses"),
            user_id=user,
            organization_id=organization,
            current=secrets.token_hex(16),
            expires_at=work.now + self._longest,
            created_at=work.now,
            updated_at=work.now,
        )
        work.session.add(family)
        return await self._pair(work, family)

    async def renew(self, work: Work, token: str) -> TokenPair | None:
        """New tokens for a refresh token, which is used up by it.

        None for one that was used before, or whose sign-in is over: then the whole sign-in is revoked, for one of the
        two who show it must have stolen it. That has to be committed, so nothing is raised. Raises UNAUTHENTICATED
        ``invalid_token`` or ``token_expired`` for what is no valid refresh token at all.
        """
        claims = await self.verify(work, token, "refresh")
        family = await repo.family(work.session, claims.session, lock=True)
        if family is None or family.revoked_at is not None:
            return None
        if not secrets.compare_digest(family.current, claims.jti):
            await self._revoke(work, family, "auth.refresh_token.reused")
            return None
        family.current = secrets.token_hex(16)
        family.expires_at = work.now + self._longest
        family.updated_at = work.now
        return await self._pair(work, family)

    async def revoke(self, work: Work, session: str) -> None:
        """End a sign-in by its id: its access tokens die with it."""
        family = await repo.family(work.session, session, lock=True)
        if family is not None and family.revoked_at is None:
            await self._revoke(work, family, "auth.logout")

    async def is_live(self, work: Work, claims: Claims) -> bool:
        """Whether the sign-in a token is of was not ended."""
        family = await repo.family(work.session, claims.session)
        return family is not None and family.revoked_at is None

    async def verify(self, work: Work, token: str, use: Use = "access") -> Claims:
        """What a token says, if it is ours, of that use, and valid now.

        Raises UNAUTHENTICATED ``token_expired`` or ``invalid_token``.
        """
        kid = kid_of(token)
        key = None if kid is None else await self.keys.verifying(work, kid)
        if key is None:
            raise invalid_token()
        # Loaded with the first token, as the keys are.
        import jwt  # noqa: PLC0415

        try:
            found: dict[str, Any] = jwt.decode(
                token,
                key.material,
                algorithms=[key.algorithm],
                audience=self._settings.issuer,
                issuer=self._settings.issuer,
                # The times are checked below, against the work's own time.
                options={"require": list(_REQUIRED), "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except (jwt.InvalidTokenError, ValueError):
            raise invalid_token() from None
        return self._checked(found, use, work.now)

    def _checked(self, found: dict[str, Any], use: Use, now: datetime) -> Claims:
        texts = [found[name] for name in ("sub", "org", "sid", "jti")]
        times = [found[name] for name in ("exp", "nbf")]
        if found["use"] != use or not all(isinstance(value, str) for value in texts):
            raise invalid_token()
        if not all(type(value) is int for value in times) or times[1] > now.timestamp() + LEEWAY:
            raise invalid_token()
        if times[0] <= now.timestamp() - LEEWAY:
            raise GatewayError(Kind.UNAUTHENTICATED, "token_expired", "The token has expired.")
        user, organization, session, jti = texts
        return Claims(user, organization, session, jti, datetime.fromtimestamp(times[0], UTC))

    async def _pair(self, work: Work, family: RefreshFamily) -> TokenPair:
        # Loaded with the first token, as the keys are.
        import jwt  # noqa: PLC0415

        kid, algorithm, private = await self.keys.signing(work)
        now = int(work.now.timestamp())
        common = {
            "iss": self._settings.issuer,
            "aud": self._settings.issuer,
            "sub": family.user_id,
            "org": family.organization_id,
            "sid": family.id,
            "iat": now,
            "nbf": now,
        }

        def signed(use: Use, jti: str, seconds: float) -> str:
            claims = common | {"use": use, "jti": jti, "exp": now + int(seconds)}
            return jwt.encode(claims, private, algorithm=algorithm, headers={"kid": kid})

        access = signed("access", secrets.token_hex(16), self._settings.access_ttl)
        refresh = signed("refresh", family.current, self._settings.refresh_ttl)
        return TokenPair(access, refresh, int(self._settings.access_ttl), int(self._settings.refresh_ttl))

    async def _revoke(self, work: Work, family: RefreshFamily, action: str) -> None:
        family.revoked_at = family.updated_at = work.now
        is_theft = action != "auth.logout"
        await work.audit(
            action, "session", family.id,
            organization=family.organization_id, severity="critical" if is_theft else "info",
            status="denied" if is_theft else "success", metadata={"user_id": family.user_id},
        )  # fmt: skip
        work.changed("user", family.user_id)


def kid_of(token: str) -> str | None:
    """The key a token names, unverified; None for what is no JWT."""
    header = header_of(token)
    kid = None if header is None else header.get("kid")
    return kid if isinstance(kid, str) else None


def header_of(token: str, longest: int = LONGEST) -> dict[str, Any] | None:
    """A token's header, unverified; None for what is no JWT, or has more characters than ``longest``."""
    if len(token) > longest or token.count(".") != 2:
        return None
    # Loaded with the first token, as the keys are.
    import jwt  # noqa: PLC0415

    try:
        return jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return None


def invalid_token() -> GatewayError:
    """The error for a token that is not ours, was changed, or is of another use."""
    return GatewayError(Kind.UNAUTHENTICATED, "invalid_token", "The token is not valid.")
