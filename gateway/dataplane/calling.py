"""Calling one target: take a connection, send, wait for the end, and try again where that makes sense."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.dataplane import answers
from gateway.dataplane.breaker import CLOSED
from gateway.dataplane.flow import INTO_TASK
from gateway.dataplane.pricing import cost_of
from gateway.dataplane.racing import attempt_hedged
from gateway.dataplane.retries import pause_before_retry
from gateway.dataplane.sending import attempt_once
from gateway.plugin.api import Route as RouteView

if TYPE_CHECKING:
    from gateway.dataplane.attempt import Attempt
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.hedging import Hedging
    from gateway.dataplane.routing import Route
    from gateway.dataplane.target import Target


async def call_target(exchange: Exchange, target: Target, route: Route, targets: list[Target]) -> Attempt | None:
    """Try one target, again where that may help. The attempt that failed, or broke off while it was relayed; None where
    the client has its answer.
    """
    chain = exchange.runtime.chain
    hedging = route.hedging
    target.budget.deposit()
    tries = 0
    pause: float | None = 0.0
    while True:
        if pause:
            await _rest(exchange, pause)
        tries += 1
        if chain.on_route:
            await chain.route(exchange, RouteView(route.name, target.provider.name, target.model))
        exchange.check()
        second, delay = (None, 0.0) if hedging is None or tries > 1 else _second(exchange, hedging, target, targets)
        if second is None or hedging is None:
            attempt = await attempt_once(exchange, target)
        else:
            attempt = await attempt_hedged(exchange, hedging, target, second, delay)
        verdict = answers.conclude(exchange, attempt)
        if verdict is answers.Verdict.WHOLE:
            if chain.on_response:
                await answers.give_whole(exchange, attempt)
            else:
                answers.hold_whole(exchange, attempt)
        if verdict is answers.Verdict.BROKEN:
            return attempt
        if verdict is not answers.Verdict.FAILED:
            if hedging is not None:
                hedging.earn(_cost(exchange))
            return None
        pause = pause_before_retry(exchange, attempt, tries, is_last=target is targets[-1])
        if pause is None:
            return attempt


def _second(exchange: Exchange, hedging: Hedging, target: Target, targets: list[Target]) -> tuple[Target | None, float]:
    """Whom to call when a target is late, and after how many seconds; None where nobody may be."""
    delay = hedging.delay(target)
    assert exchange.caller is not None
    if not delay or exchange.upload is not None or exchange.caller.limiter.at_providers:
        return None, 0.0  # what a provider's limits want is taken for one at a time
    for other in targets[targets.index(target) + 1 :]:
        if other.breaker.state == CLOSED and other.has_room:
            return other, delay
    return None, 0.0


def _cost(exchange: Exchange) -> int:
    target, tokens = exchange.target, exchange.tokens
    return 0 if target is None or target.rate is None or tokens is None else cost_of(target.rate, tokens) or 0


async def _rest(exchange: Exchange, seconds: float) -> None:
    if exchange.by_hand:
        await INTO_TASK
    await asyncio.sleep(seconds)
    exchange.waited += seconds


async def recovered(exchange: Exchange, target: Target) -> bool:
    """Wait, for a bounded time in all, until a resting target may be asked. See :mod:`gateway.dataplane.breaker`."""
    breaker = target.breaker
    now = exchange.wire.loop.time()
    if breaker.passes(now):
        return True
    if exchange.by_hand:
        await INTO_TASK
    if not exchange.patience:
        exchange.patience = min(now + target.provider.breaker.wait, exchange.deadline)
    passes = await breaker.recovered(exchange.patience, target.provider.connections.queue)
    exchange.waited += exchange.wire.loop.time() - now
    return passes
