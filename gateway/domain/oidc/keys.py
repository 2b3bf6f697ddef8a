"""The public keys of an issuer: found by discovery, kept, and read again when a token names one that is not known.

OpenID Connect Discovery 1.0, section 4; JSON Web Key Set, RFC 7517, section 5.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from time import monotonic
from typing import Any

import httpx
import jwt
from msgspec import Struct

from gateway.domain.oidc.kept import KeptKeys
from gateway.settings.model import Oidc

FRESH = 3_600.0  # seconds; for so long the issuer is not asked, so that its absence is not noticed
PAUSE = 10.0  # seconds between two reads, whatever tokens ask for
_LARGEST = 1_048_576  # bytes of a document
_MOST_KEYS = 100
# What a kind of key, or a curve, may sign with. No HMAC, or the public key could be taken for the secret of one.
_ALGORITHMS = {
    "RSA": frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "P-256": frozenset({"ES256"}),
    "P-384": frozenset({"ES384"}),
    "P-521": frozenset({"ES512"}),
    "Ed25519": frozenset({"EdDSA"}),
}
_log = logging.getLogger(__name__)


class IssuerKey(Struct, frozen=True):
    """One public key, and the algorithms it may be used with."""

    key: Any
    algorithms: frozenset[str]


class IssuerKeys:
    """The keys of one issuer. While it is down, those it had go on being used for ``oidc[].grace`` seconds, over a
    restart too where they are ``kept``.
    """

    def __init__(
        self,
        settings: Oidc,
        client: httpx.AsyncClient,
        clock: Callable[[], float] = monotonic,
        kept: KeptKeys | None = None,
    ) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._kept = kept
        self._keys: dict[str, IssuerKey] = {}
        self._read_at = self._tried_at = float("-inf")
        self._failed = False
        self._lock = asyncio.Lock()
        found = None if kept is None else kept.find(settings.issuer)
        if found is not None:
            self._keys = _usable(found.keys)
            # A clock that was set back must not make them young.
            self._read_at = clock() - abs(time.time() - found.read_at)

    async def find(self, kid: str) -> IssuerKey | None:
        """The key of that name; None where the issuer has none, or can't be reached and was not for too long."""
        if kid not in self._keys or self._clock() - self._read_at > FRESH:
            # Whoever comes while a read is under way waits for that one, and finds that it was just now.
            async with self._lock:
                if self._is_due(kid):
                    await self._read()
        return self._keys.get(kid) if self._clock() - self._read_at <= max(FRESH, self._settings.grace) else None

    @property
    def is_known(self) -> bool:
        """Whether a key that is not found is none of the issuer's: it was reached when it was last asked."""
        return bool(self._keys) and not self._failed

    def _is_due(self, kid: str) -> bool:
        now = self._clock()
        return now - self._tried_at >= PAUSE and (kid not in self._keys or now - self._read_at > FRESH)

    async def _read(self) -> None:
        self._tried_at = self._clock()
        try:
            url = self._settings.jwks_url or await self._discovered()
            document = await self._document(url)
            self._keys = _usable(document.get("keys"))
            self._read_at = self._clock()
            self._failed = False
            if self._kept is not None:
                self._kept.keep(self._settings.issuer, time.time(), document["keys"][:_MOST_KEYS])
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            self._failed = True
            extra = {"issuer": self._settings.issuer, "error": str(error) or type(error).__name__}
            _log.warning("the keys of an issuer cannot be read; those it had go on being used", extra=extra)

    async def _discovered(self) -> str:
        document = await self._document(self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != self._settings.issuer:
            raise ValueError(f"its discovery document is of {document.get('issuer')!r}")
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise ValueError("its discovery document has no jwks_uri")
        return url

    async def _document(self, url: str) -> dict[str, Any]:
        async with self._client.stream("GET", url) as response:
            response.raise_for_status()
            body = b""
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _LARGEST:
                    raise ValueError(f"{url} gives more than {_LARGEST} bytes")
        found = httpx.Response(200, content=body).json()
        if not isinstance(found, dict):
            raise ValueError(f"{url} gives no JSON object")
        return found


def _usable(keys: object) -> dict[str, IssuerKey]:
    if not isinstance(keys, list):
        raise ValueError("its key set has no keys")
    found: dict[str, IssuerKey] = {}
    for item in keys[:_MOST_KEYS]:
        allowed = _allowed(item) if isinstance(item, dict) else frozenset()
        if not allowed:
            continue
        try:
            key = jwt.PyJWK(item, algorithm=min(allowed)).key
        except (jwt.InvalidKeyError, jwt.PyJWKError, ValueError, KeyError, TypeError):
            continue  # of a curve or kind that is not known here: its tokens are refused, the others' are not
        found[item["kid"]] = IssuerKey(key, allowed)
    return found


def _allowed(item: dict[str, Any]) -> frozenset[str]:
    """What a published key may sign with; nothing where it is no named key for signatures."""
    if item.get("use", "sig") != "sig" or not isinstance(item.get("kid"), str):
        return frozenset()
    allowed = _ALGORITHMS.get(str(item.get("crv", item.get("kty"))), frozenset())
    return allowed if item.get("alg") is None else allowed & {str(item["alg"])}
