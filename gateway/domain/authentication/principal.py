"""Who is calling, as both planes need it."""

from __future__ import annotations

import ipaddress

from msgspec import Struct

from gateway.contract.policy import CredentialPolicy
from gateway.domain.actor import Actor
from gateway.kernel.errors import GatewayError, Kind


class Principal(Struct, frozen=True):
    """A caller: what they may do to accounts (``actor``), and what holds for their calls of models (``policy``)."""

    actor: Actor
    policy: CredentialPolicy


class Found(Struct, frozen=True):
    """Whose a credential is, as of change ``seq``; ``principal`` is None for an unknown one."""

    seq: int
    principal: Principal | None = None


class Origin(Struct, frozen=True):
    """Where a request came from: for the audit log, and for credentials that hold only for some addresses."""

    address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None


def admitted(principal: Principal | None, origin: Origin, environment: str | None = None) -> Principal:
    """The principal, if it may act now, from there, on a gateway of that environment (None: of any).

    Raises UNAUTHENTICATED ``invalid_api_key`` for an unknown credential, ``<status>_api_key`` for one that is revoked,
    expired or disabled, SUSPENDED ``tenant_suspended`` or ``app_suspended``, FORBIDDEN ``address_not_allowed`` or
    ``wrong_environment``.
    """
    if principal is None:
        raise GatewayError(Kind.UNAUTHENTICATED, "invalid_api_key", "The API key is not known.")
    policy = principal.policy
    if policy.status == "suspended":
        reason = f" {policy.status_reason}" if policy.status_reason else ""
        owner = "app" if policy.app is not None else "tenant"
        raise GatewayError(Kind.SUSPENDED, f"{owner}_suspended", f"This account is suspended.{reason}")
    if policy.status != "active":
        message = policy.status_reason or f"This API key is {policy.status}."
        raise GatewayError(Kind.UNAUTHENTICATED, f"{policy.status}_api_key", message)
    if environment is not None and policy.environment not in (None, environment):
        message = f"This API key is for the environment {policy.environment}, and this gateway is {environment}."
        raise GatewayError(Kind.FORBIDDEN, "wrong_environment", message)
    if policy.cidrs and not _is_within(origin.address, policy.cidrs):
        raise GatewayError(Kind.FORBIDDEN, "address_not_allowed", "This API key may not be used from this address.")
    return principal


def _is_within(address: str | None, cidrs: tuple[str, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in ipaddress.ip_network(cidr) for cidr in cidrs)
