"""Whether a credential may be used, and where: both planes ask it, and refuse in the same words."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from gateway.contract.policy import CredentialPolicy
from gateway.kernel.errors import GatewayError, Kind

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def unknown() -> GatewayError:
    """The refusal of a credential nobody knows."""
    return GatewayError(Kind.UNAUTHENTICATED, "invalid_api_key", "Incorrect API key provided.")


def suspended(owner: str, reason: str | None) -> GatewayError:
    """The refusal of an account that is suspended; ``owner`` is ``tenant`` or ``app``."""
    words = f"This account is suspended. {reason}" if reason else "This account is suspended."
    return GatewayError(Kind.SUSPENDED, f"{owner}_suspended", words)


def check_status(policy: CredentialPolicy) -> None:
    """Raise :func:`suspended`, or UNAUTHENTICATED ``<status>_api_key`` for what is revoked, expired or disabled."""
    if policy.status == "suspended":
        raise suspended("app" if policy.app is not None else "tenant", policy.status_reason)
    if policy.status != "active":
        message = policy.status_reason or f"This API key is {policy.status}."
        raise GatewayError(Kind.UNAUTHENTICATED, f"{policy.status}_api_key", message)


def check_place(
    policy: CredentialPolicy, networks: Iterable[Network], address: str | None, environment: str | None
) -> None:
    """Raise FORBIDDEN ``wrong_environment`` or ``address_not_allowed`` for a use from ``address``, on a gateway of
    ``environment`` (None: of any). ``networks`` are the policy's ``cidrs``."""
    if environment is not None and policy.environment not in (None, environment):
        message = f"This API key is for the environment '{policy.environment}', and this gateway is '{environment}'."
        raise GatewayError(Kind.FORBIDDEN, "wrong_environment", message)
    if policy.cidrs and not _is_within(address, networks):
        raise GatewayError(Kind.FORBIDDEN, "address_not_allowed", "This API key may not be used from this address.")


def _is_within(address: str | None, networks: Iterable[Network]) -> bool:
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in networks)
