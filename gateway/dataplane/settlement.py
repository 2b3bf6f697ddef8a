"""The end of every request: limits settled, metrics counted, the usage event made safe, the answer released."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from gateway.contract.usage import Tokens, UsageEvent
from gateway.dataplane.admission import limiter
from gateway.dataplane.admission.limiter import BYTES_PER_TOKEN
from gateway.dataplane.pricing import cost_of

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange

logger = logging.getLogger("gateway.settlement")
_NONE: Final = Tokens()


def usage_event(exchange: Exchange) -> UsageEvent:
    """The usage event of a request that is over."""
    now = time.perf_counter()
    started_ns = exchange.started_ns
    tokens = exchange.tokens
    estimated = tokens is None and _was_produced(exchange)
    if tokens is None:
        tokens = _estimate(exchange) if estimated else _NONE
    attempts = exchange.attempts
    last = attempts[-1] if attempts else None
    served = exchange.target if exchange.seam is not None else None  # the last attempt need not be the one that counts
    first_at = exchange.first_at
    caller = exchange.caller
    assert caller is not None
    return UsageEvent(
        exchange.id,
        exchange.endpoint,
        started_ns,
        started_ns + int((first_at - exchange.started) * 1e9) if first_at else None,
        started_ns + int((now - exchange.started) * 1e9),
        caller.id,
        caller.organization,
        exchange.model,
        served.provider.name if served is not None else last.provider if last is not None else None,
        served.model if served is not None else last.model if last is not None else None,
        attempts,
        tokens,
        estimated or exchange.estimated,
        exchange.stream,
        exchange.outcome,
        exchange.status,
        _cost(exchange, tokens),
        exchange.tags,
        caller.user,
    )


def _was_produced(exchange: Exchange) -> bool:
    """Whether the last attempt can have produced tokens: it was answered, or given up while it was being answered."""
    if not exchange.attempts or exchange.outcome == "error":
        return False
    last = exchange.attempts[-1]
    return last.reason in ("ok", "cancelled") or (last.status is not None and last.status < 300)


def _cost(exchange: Exchange, tokens: Tokens) -> int | None:
    target = exchange.target
    if target is None:
        return 0 if exchange.outcome == "cached" else None
    return None if target.rate is None else cost_of(target.rate, tokens)


def _estimate(exchange: Exchange) -> Tokens:
    """Where an upstream answered and told no usage: the prompt by its size, the completion by its events."""
    prompt = len(exchange.raw) // BYTES_PER_TOKEN if exchange.is_json else 0
    return Tokens(prompt=prompt, completion=exchange.events_seen)


def repaired(exchange: Exchange, event: UsageEvent) -> UsageEvent:
    """The event as plugins left it, or, where they put something into it that can't be counted, as it was made."""
    spoilt: Any = event  # compiled code would not even read what is of another type
    if _is_sound(spoilt.tokens, spoilt.cost_nanos):
        return event
    logger.error("a plugin spoilt a usage event", extra={"request_id": exchange.id})
    return usage_event(exchange)


def _is_sound(tokens: Any, cost: Any) -> bool:
    if type(tokens) is not Tokens or not (cost is None or (type(cost) is int and cost >= 0)):
        return False
    counts: tuple[Any, ...] = (tokens.prompt, tokens.cached, tokens.completion, tokens.reasoning)
    return all(type(count) is int and count >= 0 for count in counts)


def settle(exchange: Exchange, event: UsageEvent | None = None) -> None:
    """Close a request's books; afterwards its answer goes out. A second call does nothing."""
    if exchange.settled:
        return
    exchange.settled = True
    wire = exchange.wire
    runtime = exchange.runtime
    grant = exchange.grant
    if grant is None:
        # Never admitted: there is nothing to settle and nothing to bill.
        wire.worker.metrics.refused(exchange)
        seconds = time.perf_counter() - exchange.started
        wire.worker.log.refused(exchange, seconds)
        if runtime.tracer is not None:
            runtime.tracer.refused(exchange, seconds)
        exchange.release()
        runtime.finished()
        return
    if event is None:
        event = usage_event(exchange)
    tokens = event.tokens
    limiter.settle(grant, tokens.prompt + tokens.completion, event.cost_nanos or 0)
    if exchange.provider_grant is not None:
        limiter.settle(exchange.provider_grant, tokens.prompt + tokens.completion, event.cost_nanos or 0)
    wire.worker.metrics.served(event)
    wire.worker.log.access(event)
    if runtime.tracer is not None:
        runtime.tracer.finish(exchange, event)
    wire.worker.sink.append(event, exchange.release)
    runtime.finished()
