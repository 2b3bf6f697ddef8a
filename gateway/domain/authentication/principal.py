"""Who is calling, as both planes need it."""

from __future__ import annotations

from ipaddress import ip_network

from msgspec import Struct

from gateway.contract.policy import CredentialPolicy
from gateway.contract.standing import check_place, check_status, unknown
from gateway.domain.actor import Actor


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
        raise unknown()
    policy = principal.policy
    check_status(policy)
    check_place(policy, map(ip_network, policy.cidrs), origin.address, environment)
    return principal
