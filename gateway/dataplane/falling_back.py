"""An answer of a model that is asked only where the one asked for can't answer: told to the client, and recorded.

Nothing here runs for a model without ``fallbacks``, nor where one of the model's own targets answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.contract.usage import Fallback
from gateway.dataplane.breaker import CLOSED

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.routing import Route
    from gateway.dataplane.target import Target

_TOLD: Final = frozenset((*b"abcdefghijklmnopqrstuvwxyz", *b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:@+"))


def fallback_of(exchange: Exchange, route: Route, target: Target, *, raced: bool = False) -> Fallback | None:
    """Which of a route's fallbacks a target belongs to and why it is asked; None for a target of the model itself, or
    of another model that has a share of its requests. ``raced``: it is asked beside another.
    """
    if target in route.targets or any(target in other.targets for _, _, other in route.splits):
        return None
    for other in route.chain[1:]:
        if target in other.targets:
            return Fallback(other.name, _reason(exchange, route, raced=raced))
    return None


def answered_by(exchange: Exchange) -> Fallback | None:
    """The fallback that the answer, or the end of it, came from; as the client was told where it was told of one."""
    route, target = exchange.route, exchange.target
    if route is None or target is None or not route.fallbacks:
        return None
    found, told = fallback_of(exchange, route, target), exchange.fallback
    return told if told is not None and found is not None and told.model == found.model else found


def _reason(exchange: Exchange, route: Route, *, raced: bool) -> str:
    """How the last call of the model itself ended; else why none was made."""
    own = {(target.provider.name, target.model) for target in route.targets}
    for attempt in reversed(exchange.attempts):
        if (attempt.provider, attempt.model) in own:
            return attempt.reason
    if any(target.breaker.state != CLOSED for target in route.targets):
        return "circuit_open"
    return "late" if raced else "not_eligible"


def fallback_line(exchange: Exchange, route: Route, target: Target, *, raced: bool) -> bytes:
    """``x-gateway-fallback: <model>; reason=<reason>`` where a fallback's answer begins, which is kept for the usage
    event; empty where it is none.
    """
    found = exchange.fallback = fallback_of(exchange, route, target, raced=raced)
    if found is None:
        return b""
    name = bytes(octet if octet in _TOLD else ord("_") for octet in found.model.encode("ascii", "replace"))
    return b"x-gateway-fallback: %b; reason=%b\r\n" % (name, found.reason.encode("ascii", "replace"))
