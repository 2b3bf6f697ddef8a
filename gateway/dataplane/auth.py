"""Credentials: who is calling.

Secrets are known only by their SHA-256. A lookup is one hash and one dict access: what an attacker could time is the
hash's prefix, which tells nothing about the secret.
"""

from __future__ import annotations

import hashlib

from gateway.dataplane.admission import Limiter
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Settings


class Credential:
    """A caller as the data plane knows it. ``models`` empty means every model."""

    __slots__ = ("limiter", "models", "name", "organization", "plan")

    def __init__(
        self, name: str, organization: str, plan: str | None, models: frozenset[str], limiter: Limiter
    ) -> None:
        self.name = name
        self.organization = organization
        self.plan = plan
        self.models = models
        self.limiter = limiter


def _refusal(code: str, message: str) -> GatewayError:
    # Made anew each time: an exception that is raised again keeps the frames of every time before.
    return GatewayError(Kind.UNAUTHENTICATED, code, message)


def digest_of(secret: bytes) -> bytes:
    """What is stored and looked up instead of the secret."""
    return hashlib.sha256(secret).digest()


def secret_of(authorization: bytes) -> bytes:
    """The secret in an ``Authorization`` value (RFC 6750 §2.1). Raises :class:`GatewayError` for another scheme."""
    if authorization[:7].lower() != b"bearer ":
        raise _refusal("invalid_authorization", "Expected the Authorization header to be 'Bearer KEY'.")
    return authorization[7:].strip()


class Credentials:
    """The credentials of one configuration."""

    def __init__(self, by_digest: dict[bytes, Credential]) -> None:
        self._by_digest = by_digest

    def find(self, secret: bytes | None) -> Credential:
        """The caller behind a secret. Raises :class:`GatewayError`."""
        if not secret:
            raise _refusal(
                "missing_api_key",
                "You didn't provide an API key. Expected it in the Authorization header as 'Bearer KEY'.",
            )
        credential = self._by_digest.get(hashlib.sha256(secret).digest())
        if credential is None:
            raise _refusal("invalid_api_key", "Incorrect API key provided.")
        return credential


def credentials_from(settings: Settings, master_key: str, limiters: dict[str, Limiter]) -> Credentials:
    """Static keys and the master key. ``limiters`` is by key name; the master key has none."""
    known = {
        digest_of(key.key.encode()): Credential(
            key.name, key.organization, key.plan, frozenset(key.models), limiters[key.name]
        )
        for key in settings.keys
    }
    known[digest_of(master_key.encode())] = Credential("master", "default", None, frozenset(), Limiter(()))
    return Credentials(known)
