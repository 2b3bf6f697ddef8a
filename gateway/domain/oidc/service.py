"""Tokens of configured issuers: verified, and read for who someone is, of which organisation, and in which role.

OpenID Connect Core 1.0, section 3.1.3.7, and RFC 9068, section 4, for access tokens.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import urlsplit

from msgspec import Struct

from gateway.domain.tokens.service import LEEWAY, header_of, invalid_token
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Oidc

if TYPE_CHECKING:
    import httpx

    from gateway.domain.oidc.kept import KeptKeys
    from gateway.domain.oidc.keys import IssuerKey, IssuerKeys

LONGEST = 16_384  # characters; issuers put all groups of a person into a token
_TIMEOUT = 5.0  # seconds
_LONGEST_CLAIM = 200


class Identity(Struct, frozen=True):
    """Who a token is of. ``subject`` is ``issuer|sub``; ``roles`` are all it names, known here or not."""

    subject: str
    email: str
    is_email_verified: bool
    username: str
    organization: str
    roles: tuple[str, ...]
    expires_at: datetime
    is_confined: bool = False
    """The issuer speaks for some organisations alone: it takes over nobody's account elsewhere."""


class Issuers:
    """The configured issuers. One for the whole process: it keeps their keys, in a file too where one is given. Close
    it.
    """

    def __init__(self, settings: tuple[Oidc, ...], kept: KeptKeys | None = None) -> None:
        self._client: httpx.AsyncClient | None = None
        self._issuers: dict[str, tuple[Oidc, IssuerKeys]] = {}
        if settings:
            # Only a gateway with an issuer pays for the client's library and its certificates.
            import httpx  # noqa: PLC0415

            # It loads the same library.
            from gateway.domain.oidc.keys import IssuerKeys  # noqa: PLC0415

            self._client = httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False, trust_env=True)
            self._issuers = {item.issuer: (item, IssuerKeys(item, self._client, kept=kept)) for item in settings}

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    def knows(self, token: str) -> bool:
        """Whether a token says it is of one of the issuers; unverified."""
        return _issuer_of(token) in self._issuers

    async def verify(self, token: str, now: datetime) -> Identity:
        """Who a token is of, if it is an issuer's, for this audience, and valid now.

        Raises UNAUTHENTICATED ``invalid_token`` or ``token_expired``, and UNAVAILABLE ``issuer_unavailable`` where the
        issuer can't be reached and none of the keys it had is the token's.
        """
        found = self._issuers.get(_issuer_of(token) or "")
        header = header_of(token, LONGEST)
        if found is None or header is None or not isinstance(header.get("kid"), str):
            raise invalid_token()
        settings, keys = found
        key = await keys.find(header["kid"])
        if key is None and not keys.is_known:
            raise GatewayError(
                Kind.UNAVAILABLE, "issuer_unavailable", "The issuer of this token can't be reached.", retry_after=10.0
            )
        if key is None or header.get("alg") not in key.algorithms:
            raise invalid_token()
        return _identity(settings, _decoded(token, key, settings, now))


def _decoded(token: str, key: IssuerKey, settings: Oidc, now: datetime) -> dict[str, Any]:
    # Loaded with the first token: the cryptography behind it is a tenth of the process.
    import jwt  # noqa: PLC0415

    # The times are checked below, against one "now", and as numbers of any kind.
    options: Any = {
        "require": ["iss", "aud", "sub", "exp"],
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
    }
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=sorted(key.algorithms),
            audience=settings.audience,
            issuer=settings.issuer,
            options=options,
        )
    except (jwt.InvalidTokenError, ValueError, TypeError):
        raise invalid_token() from None
    moment = now.timestamp()
    if not _is_time(claims["exp"]) or not _is_time(claims.get("nbf", 0)) or claims.get("nbf", 0) > moment + LEEWAY:
        raise invalid_token()
    if claims["exp"] <= moment - LEEWAY:
        raise GatewayError(Kind.UNAUTHENTICATED, "token_expired", "The token has expired.")
    return claims


def _identity(settings: Oidc, claims: dict[str, Any]) -> Identity:
    subject = _text(claims["sub"])
    if subject is None:
        raise invalid_token()
    host = urlsplit(settings.issuer).hostname or "issuer"
    email = _text(claims.get("email"))
    is_verified = email is not None and claims.get("email_verified") is True
    organization = _text(claims.get(settings.organization_claim)) if settings.organization_claim else None
    organization = organization or settings.default_organization
    if settings.organizations and organization not in settings.organizations:
        raise GatewayError(
            Kind.FORBIDDEN, "organization_not_allowed", "The token's issuer may not speak for its organization."
        )
    return Identity(
        subject=f"{settings.issuer}|{subject}",
        email=email or f"{subject}@{host}",
        is_email_verified=is_verified,
        username=_text(claims.get("preferred_username")) or _text(claims.get("name")) or email or subject,
        organization=organization,
        roles=_texts(_at(claims, settings.role_claim)),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        is_confined=bool(settings.organizations),
    )


def _at(claims: dict[str, Any], path: str) -> object:
    if path in claims:  # a claim's name may hold dots, as URLs do
        return claims[path]
    found: object = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _texts(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(text for text in map(_text, items[:_LONGEST_CLAIM]) if text is not None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_CLAIM and value.isprintable() else None


def _is_time(value: object) -> TypeGuard[float]:
    # Up to the year 9999; what is beyond is no time, and no number that a datetime takes.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 253_402_300_800


def _issuer_of(token: str) -> str | None:
    if len(token) > LONGEST or token.count(".") != 2:
        return None
    body = token.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, RecursionError):
        return None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else None
