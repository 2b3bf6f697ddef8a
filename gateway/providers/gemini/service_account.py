"""Access tokens for a Google service account, by a JWT signed with its key.

Source: "Using OAuth 2.0 for Server to Server Applications" (RFC 7523).
"""

from __future__ import annotations

from typing import Final

import jwt
import msgspec

from gateway.providers.oauth import TokenRequest, form

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME: Final = 3_600  # seconds, the longest that is taken


class ServiceAccount(msgspec.Struct, frozen=True):
    """What counts of a service account's key file. It is never shown: it holds the key."""

    client_email: str
    private_key: str
    private_key_id: str = ""
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - a URL
    project_id: str = ""

    def __repr__(self) -> str:
        return f"ServiceAccount({self.client_email})"


def service_account(text: str | bytes) -> ServiceAccount:
    """A key file's content. Raises :class:`ValueError` that tells what is missing, never the content."""
    try:
        account = msgspec.json.decode(text, type=ServiceAccount)
    except msgspec.ValidationError:
        raise ValueError("expected a service account's key file with client_email and private_key") from None
    except msgspec.DecodeError:
        raise ValueError("expected a service account's key file, which is JSON") from None
    if not account.token_uri.startswith(("https://", "http://")):
        raise ValueError("expected token_uri of the service account's key file to be a URL")
    return account


def token_request(account: ServiceAccount, now: float) -> TokenRequest:
    """What to ask for a token with. Raises :class:`ValueError` for a key that is none."""
    issued = int(now)
    claims = {
        "iss": account.client_email,
        "scope": SCOPE,
        "aud": account.token_uri,
        "iat": issued,
        "exp": issued + _LIFETIME,
    }
    headers = {"kid": account.private_key_id} if account.private_key_id else None
    try:
        assertion = jwt.encode(claims, account.private_key, algorithm="RS256", headers=headers)
    except (jwt.PyJWTError, ValueError, TypeError):
        raise ValueError("the service account's private_key is no RSA key in PEM") from None
    return form(account.token_uri, grant_type=_GRANT, assertion=assertion)
