"""Access tokens by OAuth 2.0 (RFC 6749): what an issuer is asked, and what its answer says; others send it."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlencode

import orjson


class TokenRequest(NamedTuple):
    """A POST of ``application/x-www-form-urlencoded``."""

    url: str
    body: bytes


class Token(NamedTuple):
    """An access token. ``expires_at`` is Unix seconds."""

    value: str
    expires_at: float


def form(url: str, **fields: str) -> TokenRequest:
    """A request to a token endpoint."""
    return TokenRequest(url, urlencode(fields).encode())


def token_of(status: int, body: bytes, now: float) -> Token:
    """The token of an answer (section 5.1). Raises :class:`ValueError` with the issuer's own words (section 5.2)."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict):
        raise ValueError(f"The token's issuer answered with status {status} and no JSON object.")
    value, seconds = told.get("access_token"), told.get("expires_in", 3_600)
    if status >= 400 or not isinstance(value, str) or not value:
        said = " ".join(str(told[name])[:300] for name in ("error", "error_description") if told.get(name))
        raise ValueError(f"The token's issuer answered with status {status}: {said or 'no access_token'}.")
    try:
        return Token(value, now + max(0.0, float(seconds)))
    except (TypeError, ValueError):
        raise ValueError("The token's issuer told no number of seconds in expires_in.") from None
