"""The end of every request: limits settled, metrics counted, the usage event made safe, the answer released."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from gateway.contract.usage import Tokens, UsageEvent
from gateway.dataplane.admission import limiter
from gateway.dataplane.admission.limiter import BYTES_PER_TOKEN
from gateway.dataplane.counting.wire import Ask, Counted, Produced
from gateway.dataplane.falling_back import answered_by
from gateway.dataplane.interpreting import countable
from gateway.dataplane.learned.noting import note
from gateway.dataplane.pricing import cost_of
from gateway.dataplane.recounting import recount
from gateway.dataplane.streaming import EventStream
from gateway.dataplane.vendors import vocabulary_of

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange

logger = logging.getLogger("gateway.settlement")
_NONE: Final = Tokens()


def usage_event(exchange: Exchange, counted: Counted | None = None) -> UsageEvent:
    """The usage event of a request that is over. ``counted`` is what :func:`uncounted` asked for."""
    now = time.perf_counter()
    started_ns = exchange.started_ns
    tokens = exchange.tokens
    estimated = counted is not None or (tokens is None and _was_produced(exchange))
    if counted is not None:
        tokens = _with(tokens, counted)
    elif tokens is None:
        tokens = _by_size(exchange) if estimated else _NONE
    provider, model = _answered_by(exchange)
    first_at = exchange.first_at
    caller = exchange.caller
    assert caller is not None
    return UsageEvent(
        exchange.id,
        exchange.spec.name,
        started_ns,
        started_ns + int((first_at - exchange.started) * 1e9) if first_at else None,
        started_ns + int((now - exchange.started) * 1e9),
        caller.id,
        caller.organization,
        exchange.model,
        provider,
        model,
        exchange.attempts,
        tokens,
        estimated or exchange.estimated,
        exchange.stream,
        exchange.outcome,
        exchange.status,
        _cost(exchange, tokens),
        exchange.tags,
        caller.user,
        answered_by(exchange),
        None if exchange.choice is None else exchange.choice.decision,
    )


def _answered_by(exchange: Exchange) -> tuple[str | None, str | None]:
    """The provider and its model: of the last attempt, or those that a cached answer has spared; of a stream that was
    gone on with those of the part that counts.
    """
    target = exchange.target
    if exchange.seam is not None and target is not None:
        return target.provider.name, target.model
    if exchange.attempts:
        last = exchange.attempts[-1]
        return last.provider, last.model
    return (target.provider.name, target.model) if exchange.outcome == "cached" and target is not None else (None, None)


def uncounted(exchange: Exchange) -> Ask | None:
    """What has to be counted before the request's usage is known: all of it, or what came after the last usage."""
    produced = exchange.uncounted
    if exchange.tokens is not None and produced is None:
        return None
    target = exchange.target
    if target is None or not _was_produced(exchange):
        return None
    if isinstance(produced, EventStream):
        unread = produced.unread()
        if unread is None and exchange.tokens is not None:
            return None  # nearly always: the usage was the last that came
    else:
        unread = None if produced is None else Produced(produced, is_whole=True)
    endpoint, raw = countable(exchange)
    request = raw if exchange.tokens is None else None
    vocabulary = vocabulary_of(target.vendor, target.model)
    return Ask(0, vocabulary, endpoint, request, Produced() if unread is None else unread)


def _with(tokens: Tokens | None, counted: Counted) -> Tokens:
    """The last usage seen, and what was counted beside it."""
    if tokens is None:
        return Tokens(prompt=counted.prompt, completion=counted.completion, reasoning=counted.thoughts)
    return structs.replace(
        tokens, completion=tokens.completion + counted.completion, reasoning=tokens.reasoning + counted.thoughts
    )


def _was_produced(exchange: Exchange) -> bool:
    """Whether the last attempt can have produced tokens: it was answered, or given up while it was being answered."""
    if not exchange.attempts or exchange.outcome == "error":
        return False
    last = exchange.attempts[-1]
    return last.reason in ("ok", "cancelled") or (last.status is not None and last.status < 300)


def _cost(exchange: Exchange, tokens: Tokens) -> int | None:
    target = exchange.target
    if exchange.outcome == "cached":
        return 0
    if target is None:
        return None
    return None if target.rate is None else cost_of(target.rate, tokens)


def _by_size(exchange: Exchange) -> Tokens:
    """Where nothing could count: the prompt by its size, the completion by its events."""
    prompt = len(exchange.raw) // BYTES_PER_TOKEN if exchange.is_json else 0
    return Tokens(prompt=prompt, completion=exchange.events_seen)


def repaired(exchange: Exchange, event: UsageEvent, counted: Counted | None = None) -> UsageEvent:
    """The event as plugins left it, or, where they put something into it that can't be counted, as it was made."""
    left: Any = event  # compiled, a field of another type than declared can't be read as what it is declared
    if _is_sound(left.tokens, left.cost_nanos):
        return event
    logger.error("a plugin spoilt a usage event", extra={"request_id": exchange.id})
    return usage_event(exchange, counted)


def _is_sound(tokens: Any, cost: Any) -> bool:
    if type(tokens) is not Tokens or not (cost is None or (type(cost) is int and cost >= 0)):
        return False
    return all(type(count) is int and count >= 0 for count in structs.astuple(tokens))


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
    if event is not None:
        _close(exchange, event)
        return
    seam = exchange.seam
    if seam is not None and seam.parts.parts:
        recount(exchange, seam.parts, lambda: _count(exchange))
    else:
        _count(exchange)


def _count(exchange: Exchange) -> None:
    """Count what is still to be counted, then close."""
    ask = uncounted(exchange)
    if ask is None:
        _close(exchange, usage_event(exchange))
    else:
        exchange.wire.worker.counter.count(ask, lambda counted: _close(exchange, usage_event(exchange, counted)))


def _close(exchange: Exchange, event: UsageEvent) -> None:
    wire = exchange.wire
    runtime = exchange.runtime
    grant = exchange.grant
    assert grant is not None
    # An answer from a cache has used nothing: its tokens tell what was saved.
    tokens = _NONE if event.outcome == "cached" else event.tokens
    limiter.settle(grant, tokens.prompt + tokens.completion, event.cost_nanos or 0)
    if exchange.provider_grant is not None:
        limiter.settle(exchange.provider_grant, tokens.prompt + tokens.completion, event.cost_nanos or 0)
    if runtime.tracer is not None:
        runtime.tracer.finish(exchange, event)  # reads the exchange, of which little is left once it is released
    target = exchange.target
    if target is not None and target.seen is not None:
        note(exchange, event, target, target.seen)
    worker = wire.worker
    worker.sink.append(event, exchange.release)  # the answer goes out now; for what follows nobody waits
    worker.metrics.served(event)
    worker.log.access(event)
    runtime.finished()
