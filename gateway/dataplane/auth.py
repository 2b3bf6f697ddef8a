"""Credentials: who is calling, and whether the call may go on.

Secrets are known only by their SHA-256. A lookup is one hash and one dict access: what an attacker could time is the
hash's prefix, which tells nothing about the secret. A connection keeps the header that it brought last, see
:class:`Presented`, while it is open.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from typing import Final, Protocol

from gateway.contract.policy import CredentialPolicy
from gateway.contract.standing import Network, check_place, check_status, unknown
from gateway.dataplane.admission.policies import limits_of_key
from gateway.dataplane.admission.registry import Limiter, Registry
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.secrets import digest_of
from gateway.settings.model import Plan, Settings

_REMEMBERED: Final = 512  # bytes of a header that a connection keeps


class Credential:
    """A caller as the data plane knows it. ``models`` empty means every model.

    ``guarded``: more than the secret has to be looked at before a call may go on, see :func:`check`. ``as_of`` is the
    last change that its policy knows of, where the sidecar told it.
    """

    __slots__ = (
        "as_of",
        "expires_at",
        "guarded",
        "hit",
        "id",
        "limiter",
        "models",
        "name",
        "networks",
        "organization",
        "plan",
        "policy",
        "user",
    )

    def __init__(self, policy: CredentialPolicy, limiter: Limiter, environment: str | None = None) -> None:
        self.id = policy.id
        self.name = policy.name
        self.organization = policy.organization
        self.user = policy.user
        self.plan = policy.plan
        self.models = frozenset(policy.models)
        self.limiter = limiter
        self.policy = policy
        self.expires_at = policy.expires_at
        self.networks: tuple[Network, ...] = tuple(ipaddress.ip_network(cidr, strict=False) for cidr in policy.cidrs)
        self.hit = False
        self.as_of = 0
        elsewhere = environment is not None and policy.environment not in (None, environment)
        self.guarded = bool(
            policy.status != "active"
            or policy.expires_at is not None
            or self.networks
            or not policy.inference
            or elsewhere
        )


def unauthenticated(code: str, message: str) -> GatewayError:
    """A refusal of a credential."""
    # Made anew each time: an exception that is raised again keeps the frames of every time before.
    return GatewayError(Kind.UNAUTHENTICATED, code, message)


def missing() -> GatewayError:
    """The refusal of a request without a credential."""
    return unauthenticated(
        "missing_api_key", "You didn't provide an API key. Expected it in the Authorization header as 'Bearer KEY'."
    )


def secret_of(authorization: bytes) -> bytes:
    """The secret in an ``Authorization`` value (RFC 6750 §2.1). Raises :class:`GatewayError` for another scheme."""
    if authorization[:7].lower() != b"bearer ":
        raise unauthenticated("invalid_authorization", "Expected the Authorization header to be 'Bearer KEY'.")
    return authorization[7:].strip()


def secret_in(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """The secret a request carries: ``Authorization``, else ``x-api-key``, else ``api-key``; of several equal names the
    first. The sidecar takes the same one, so that no other is counted than the one that acts.

    Names are in lower case. Raises :class:`GatewayError` for another scheme than Bearer.
    """
    plain = older = None
    for name, value in headers:
        if name == b"authorization":
            return secret_of(value)
        if name == b"x-api-key":
            plain = value if plain is None else plain
        elif name == b"api-key":
            older = value if older is None else older
    found = older if plain is None else plain
    return None if found is None else found.strip()


def check(caller: Credential, address: str | None, environment: str | None) -> None:
    """Raise :class:`GatewayError` where a guarded credential may not be used now, from ``address``, here."""
    check_status(caller.policy)
    # A policy is held for a while, and its end may come meanwhile.
    if caller.expires_at is not None and time.time() >= caller.expires_at:
        raise unauthenticated("expired_api_key", "This API key has expired.")
    check_place(caller.policy, caller.networks, address, environment)


def check_inference(caller: Credential) -> None:
    """Raise :class:`GatewayError` where the credential's scopes do not allow calls of models."""
    if not caller.policy.inference:
        raise GatewayError(
            Kind.FORBIDDEN, "insufficient_permissions", "This credential's scopes do not allow calls of models."
        )


class Presented:
    """The ``Authorization`` header that a connection sent last, and what follows from it alone: its secret and that
    one's digest. Who calls with it is asked anew with each request.
    """

    __slots__ = ("_authorization", "digest", "secret")

    def __init__(self) -> None:
        self._authorization = self.secret = self.digest = b""

    def is_again(self, authorization: bytes) -> bool:
        """Whether this is what was sent last."""
        return hmac.compare_digest(authorization, self._authorization)

    def remember(self, authorization: bytes, secret: bytes) -> None:
        """This was sent, and somebody was behind it."""
        if len(authorization) <= _REMEMBERED:
            self._authorization, self.secret = authorization, secret
            self.digest = hashlib.sha256(secret).digest()


class KeyCache(Protocol):
    """The credentials learnt from the sidecar, see :mod:`gateway.dataplane.credentials`."""

    def get(self, digest: bytes, secret: bytes) -> Credential | None:
        """One that is held; None where it is worth asking. Raises :class:`GatewayError` where it is not."""


class Credentials:
    """The credentials of one configuration, and behind them those that the sidecar knows (``learnt``)."""

    __slots__ = ("_by_digest", "_learnt", "environment")

    def __init__(self, by_digest: dict[bytes, Credential], learnt: KeyCache | None, environment: str | None) -> None:
        self._by_digest = by_digest
        self._learnt = learnt
        self.environment = environment

    def find(self, secret: bytes | None) -> Credential | None:
        """The caller behind a secret; None where the sidecar has to be asked. Raises :class:`GatewayError`."""
        if not secret:
            raise missing()
        return self.behind(hashlib.sha256(secret).digest(), secret)

    def behind(self, digest: bytes, secret: bytes) -> Credential | None:
        """As :meth:`find`; ``digest`` is the secret's."""
        found = self._by_digest.get(digest)
        if found is None:
            if self._learnt is None:
                raise unknown()
            found = self._learnt.get(digest, secret)
        return found

    def known(self, digest: bytes) -> Credential | None:
        """The static credential of a digest, or the master key's."""
        return self._by_digest.get(digest)


def credentials_from(
    settings: Settings, master_key: str, registry: Registry, learnt: KeyCache | None = None
) -> tuple[Credentials, dict[str, Limiter]]:
    """Static keys and the master key, which nothing limits, and the keys' limiters by name."""
    plans = {plan.name: plan for plan in settings.plans if isinstance(plan, Plan)}
    known: dict[bytes, Credential] = {}
    limiters: dict[str, Limiter] = {}
    for key in settings.keys:
        limits = limits_of_key(key, plans)
        limiters[key.name] = limiter = Limiter(registry.counters(limits))
        policy = CredentialPolicy(
            key.name, key.name, "static", key.organization, plan=key.plan, models=key.models, limits=limits
        )
        known[digest_of(key.key.encode())] = Credential(policy, limiter)
    master = CredentialPolicy("master", "master", "master", "default")
    known[digest_of(master_key.encode())] = Credential(master, Limiter(()))
    return Credentials(known, learnt, settings.server.environment), limiters
