"""Who calls, and whether the request may go on: what the pipeline does before it calls a model."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.dataplane import body as bodies
from gateway.dataplane.admission.limiter import (
    BYTES_PER_TOKEN,
    DEFAULT_COMPLETION_TOKENS,
    CounterSet,
    Shortage,
    settle,
)
from gateway.dataplane.auth import Credential, check, check_inference, secret_in
from gateway.dataplane.flow import INTO_TASK
from gateway.dataplane.pricing import worst_case
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.routing import Route
    from gateway.dataplane.target import Target


async def identify(exchange: Exchange) -> None:
    """Ask the sidecar for a credential that is not held here. Raises :class:`GatewayError`."""
    learnt = exchange.wire.worker.learnt
    assert learnt is not None
    secret = secret_in(exchange.raw_headers)
    assert secret is not None
    if exchange.by_hand:
        await INTO_TASK
    accept(exchange, await learnt.ask(secret))
    exchange.check()


def accept(exchange: Exchange, caller: Credential) -> None:
    """The request is this caller's. Raises :class:`GatewayError` where the credential may not be used for it."""
    if caller.guarded:
        peer = exchange.wire.client
        check(caller, peer[0] if peer is not None else None, exchange.runtime.credentials.environment)
        check_inference(caller)
    exchange.caller = caller
    exchange.credential = caller.id
    exchange.organization = caller.organization


def admit(exchange: Exchange) -> Shortage | None:
    """Reserve one request, its tokens and its money, or refuse it whole. Raises :class:`GatewayError`.

    A :class:`Shortage` is for :func:`widen`: more of a shared limit must be leased first.
    """
    caller = exchange.caller
    assert caller is not None
    runtime = exchange.runtime
    route = exchange.route = runtime.router.find(exchange.model, caller.models)
    counters = caller.limiter.for_model(route.name, runtime.shared)
    if not counters.all:
        exchange.grant = counters.admit(0, 0, 0.0)
        return None
    tokens, cost = demand(exchange, route, counters)
    try:
        exchange.grant = counters.admit(tokens, cost, time.time())
    except Shortage as shortage:
        return shortage
    finally:
        exchange.rate_lines = counters.rate_lines()
    return None


def demand(exchange: Exchange, route: Route, counters: CounterSet) -> tuple[int, int]:
    """Tokens and nano-dollars that a request can take at most. Raises where it has no price to count against."""
    prompt = len(exchange.raw) // BYTES_PER_TOKEN + 1 if exchange.is_json else 0
    completion = 0
    if exchange.max_tokens is not None:
        completion = exchange.max_tokens
    elif exchange.spec.generates or exchange.spec.form:
        # How much a form asks is not known before it is answered; with nothing reserved it would pass a used-up budget.
        completion = DEFAULT_COMPLETION_TOKENS * bodies.choices_of(exchange.fields or {})
    cost = 0
    if counters.cost:
        for target in route.candidates(exchange.endpoint, 0.0):
            most = None if target.rate is None else worst_case(target.rate, prompt, completion)
            if most is None:
                raise GatewayError(
                    Kind.FORBIDDEN,
                    "model_not_priced",
                    f"Your key has a budget, and '{exchange.model}' has no price to count against it.",
                    "model",
                )
            cost = max(cost, most)
    return prompt + completion, cost


async def widen(exchange: Exchange, shortage: Shortage) -> None:
    """Lease more of the shared limits, then admit. Raises :class:`GatewayError`."""
    if exchange.by_hand:
        await INTO_TASK
    lender = exchange.runtime.lender
    assert lender is not None
    try:
        exchange.grant = await lender.admit(shortage)
    finally:
        exchange.rate_lines = shortage.counters.rate_lines()
    exchange.check()


async def enter(exchange: Exchange, target: Target) -> GatewayError | None:
    """Take what the limits at a target's provider want, and leave the provider tried before.

    Gives the refusal of a provider that has no room; another may have.
    """
    caller, runtime = exchange.caller, exchange.runtime
    assert caller is not None
    if exchange.provider_grant is not None:
        settle(exchange.provider_grant, 0, 0)
        exchange.provider_grant = None
    assert exchange.route is not None
    counters = caller.limiter.for_provider(target.provider.name, exchange.route.name, runtime.shared)
    if counters is None:
        return None
    tokens, cost = demand(exchange, exchange.route, counters)
    try:
        try:
            exchange.provider_grant = counters.admit(tokens, cost, time.time())
        except Shortage as shortage:
            if exchange.by_hand:
                await INTO_TASK
            assert runtime.lender is not None
            exchange.provider_grant = await runtime.lender.admit(shortage)
            exchange.check()
    except GatewayError as refusal:
        return refusal
    return None
