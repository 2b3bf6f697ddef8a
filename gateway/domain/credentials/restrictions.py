"""What a credential may be restricted to: scopes, models, addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from gateway.domain.actor import Actor
from gateway.domain.credentials.model import Credential
from gateway.domain.fields import invalid, texts
from gateway.domain.roles.catalog import catalog
from gateway.kernel.errors import GatewayError, Kind

DEFAULT_SCOPES = ("inference", "api:read", "api:write")
"""What a key may do where nothing was asked for; of these, what its maker may do."""
_MOST_CIDRS = 100
_MOST_SCOPES = 100
_SHOWN = 60
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def networks(values: Sequence[str], field: str = "cidrs") -> list[str]:
    """Addresses and networks as networks, each once: ``10.1.2.3/8`` is ``10.0.0.0/8``, ``::1`` is ``::1/128``.

    IPv4 written as IPv6 (``::ffff:10.0.0.1``, RFC 4291 section 2.5.5.2) is IPv4, as callers' addresses are.
    """
    if len(values) > _MOST_CIDRS:
        raise invalid(f"{field} must have at most {_MOST_CIDRS} entries.", field)
    return list(dict.fromkeys(_network(value, f"{field}[{index}]") for index, value in enumerate(values)))


def _network(value: str, field: str) -> str:
    try:
        network = ipaddress.ip_network(value.strip(), strict=False)
    except ValueError:
        raise invalid(
            f"{field} must be an IP address or a network such as 10.0.0.0/8 or 2001:db8::/32.", field
        ) from None
    if isinstance(network, ipaddress.IPv6Network):
        if network.network_address.scope_id is not None:
            raise invalid(f"{field} must not name an interface.", field)
        if network.subnet_of(_MAPPED):
            packed = network.network_address.packed[-4:]
            return str(ipaddress.IPv4Network((packed, network.prefixlen - 96)))
    return str(network)


def require_within(maker: Credential, asked: Mapping[str, Any]) -> None:
    """Raise FORBIDDEN ``insufficient_permissions`` where a key would get more than ``maker`` has, whose holder asks.

    ``asked`` may hold ``models``, ``cidrs``, ``environment`` and ``expires_at`` as columns have them: what is not in it
    is not asked for. Without this a restricted key would last until its holder made another.
    """
    for name, value in asked.items():
        if not _allows(maker, name, value):
            message = f"The key that asks is restricted in {name}, so it cannot give more than it has."
            raise GatewayError(Kind.FORBIDDEN, "insufficient_permissions", message, name)


def _allows(maker: Credential, name: str, value: Any) -> bool:
    if name == "models" and maker.models:
        return bool(value) and set(value) <= set(maker.models)
    if name == "cidrs" and maker.cidrs:
        return bool(value) and all(_is_inside(cidr, maker.cidrs) for cidr in value)
    if name == "environment" and maker.environment != "live":
        return bool(value == maker.environment)
    if name == "expires_at" and maker.expires_at is not None:
        return value is not None and bool(value <= maker.expires_at)
    return True


def _is_inside(cidr: str, outer: Sequence[str]) -> bool:
    inner = ipaddress.ip_network(cidr)
    # Of one family both; what is of the other has no place in it.
    return any(inner.version == of.version and inner.subnet_of(of) for of in map(ipaddress.ip_network, outer))  # type: ignore[arg-type]


def models(values: Sequence[str]) -> list[str]:
    """Names of models. One that is not configured matches no request, and so allows none."""
    return texts(values, "models")


def scopes(
    asked: Sequence[str] | None, permissions: Mapping[str, Any] | None, actor: Actor, organization: str
) -> list[str]:
    """The scopes of a new key, sorted: those asked for, by name or as ``{"read": ["*"], "write": ["usage"]}``.

    A name that the actor does not hold for the organisation is refused. ``*`` in ``permissions`` is everything of that
    verb that the actor holds. Raises :class:`GatewayError` (INVALID ``unknown_scope``, FORBIDDEN
    ``insufficient_permissions``).
    """
    if asked is None and permissions is None:
        return sorted(scope for scope in DEFAULT_SCOPES if actor.may(scope, organization))
    found = set(check_scopes(asked or (), (), actor, organization))
    for verb, nouns in (permissions or {}).items():
        found |= _of_verb(verb, nouns, actor, organization)
    return sorted(found)


def _of_verb(verb: str, nouns: object, actor: Actor, organization: str) -> set[str]:
    field = f"scope_permissions.{verb}"
    if verb not in ("read", "write"):
        raise invalid(f"{field} is unknown: expected read or write.", field)
    if not isinstance(nouns, list) or not all(isinstance(noun, str) for noun in nouns):
        raise invalid(f'{field} must be a list of names, or ["*"].', field)
    known = catalog().permissions
    found = set()
    for noun in texts(nouns, field, most=_MOST_SCOPES):
        if noun != "*":
            scope = f"{noun}:{verb}"
            _check(scope, field, actor, organization)
            found.add(scope)
            continue
        ends = f":{verb}"
        found |= {scope for scope in known if scope.endswith(ends) and actor.may(scope, organization)}
    return found


def check_scopes(values: Sequence[str], kept: Sequence[str], actor: Actor, organization: str) -> list[str]:
    """New scopes of a key that has ``kept``, sorted: only what is added must be the actor's to give."""
    found = set(texts(values, "scopes", most=_MOST_SCOPES))
    for scope in sorted(found - set(kept)):
        _check(scope, "scopes", actor, organization)
    return sorted(found)


def _check(scope: str, field: str, actor: Actor, organization: str) -> None:
    if not _is_known(scope):
        known = sorted(catalog().permissions)
        near = get_close_matches(scope[:_SHOWN], known, n=1)
        expected = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}."
        raise invalid(f"{scope!r} is no scope; {expected}", field, "unknown_scope")
    if not actor.may(scope, organization):
        raise GatewayError(
            Kind.FORBIDDEN, "insufficient_permissions", f"You do not hold {scope}, so you cannot give it.", field
        )


def _is_known(scope: str) -> bool:
    known = catalog().permissions
    noun, _, verb = scope.partition(":")
    if scope in known or scope == "*":
        return True
    if verb == "*":
        return any(name.startswith(f"{noun}:") for name in known)
    return noun == "*" and any(name.endswith(f":{verb}") for name in known)
