"""``POST /v1/ml/route`` and ``/v1/ml/route/batch``: what a learned route would choose, told to who calls models itself.

Source: AI Marketplace's reference, "ML Routing". Each decision is told by a usage event under the ``requestId`` that
its answer has, without tokens and cost. Of a batch, limits on requests count one. Kept beside the inference requests
because it is asked before each of them: it takes none of Starlette's way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.contract.usage import Tokens, UsageEvent
from gateway.dataplane import answers
from gateway.dataplane.admission.limiter import CounterSet, Shortage
from gateway.dataplane.admitting import identify, widen
from gateway.dataplane.endpoints.inference import ML_ROUTE_BATCH
from gateway.dataplane.gate import with_upgrades
from gateway.dataplane.learned import answering
from gateway.dataplane.learned.answered import Answer, Batch, BatchAnswer, Meta, Whole
from gateway.dataplane.learned.asking import SPELT, Asked, AskedBatch, fault, read_batch, read_one
from gateway.dataplane.learned.auto import NAME as AUTO
from gateway.dataplane.learned.balancing import balance
from gateway.dataplane.learned.features import require_feature, tier_of
from gateway.dataplane.learned.question import Question
from gateway.dataplane.learned.telling import result_of
from gateway.dataplane.settlement import settle
from gateway.kernel.errors import FieldFault, GatewayError, Kind
from gateway.routing.request import Ask, OptimizeFor
from gateway.settings.model import Weighing

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.learned.decider import Decider
    from gateway.dataplane.learned.question import Chosen

logger = logging.getLogger("gateway.learned")

_JSON: Final = b"content-type: application/json\r\n"
_NO_TOKENS: Final = Tokens()
_encode: Final = msgspec.json.Encoder().encode


async def handle(exchange: Exchange) -> None:
    """Answer one request whose body is here. Never raises."""
    events: list[UsageEvent] = []
    try:
        exchange.begin()
        if exchange.caller is None:
            await identify(exchange)
        batch = exchange.spec is ML_ROUTE_BATCH
        require_feature(exchange, "batch_routing" if batch else "ml_routing")
        raw = exchange.take_body()
        assert exchange.caller is not None
        counters = exchange.caller.limiter.for_requests(exchange.runtime.shared)
        shortage = _admit(exchange, counters)
        if shortage is not None:
            await widen(exchange, shortage)
        decider = _decider(exchange)
        if decider.offered is None:
            await exchange.before_waiting()
            await decider.ready()
            exchange.check()
        answer: BatchAnswer | Answer
        if batch:
            answer = BatchAnswer(True, _batch(exchange, decider, raw, events))
        else:
            data = _one(exchange, decider, raw, events)
            meta = Meta(tier_of(exchange), counters.remaining(), answering.since(exchange.started))
            answer = Answer(True, data, meta)
        exchange.outcome = "ok"
        exchange.hold(200, _JSON, _encode(answer))
    except GatewayError as error:
        answers.fail(exchange, with_upgrades(error, exchange.runtime.settings))
    except asyncio.CancelledError:
        answers.interrupted(exchange)
    except Exception:
        logger.exception("a decision failed", extra={"request_id": exchange.id})
        message = "The gateway failed to decide."
        answers.fail(exchange, GatewayError(Kind.INTERNAL, "ml_routing_failed", message))
    finally:
        _settle(exchange, events)


def _admit(exchange: Exchange, counters: CounterSet) -> Shortage | None:
    """Take one request of the caller's limits; returns what it lacks. Raises :class:`GatewayError`."""
    exchange.model = AUTO
    try:
        exchange.grant = counters.admit(0, 0, time.time() if counters.all else 0.0)
    except Shortage as shortage:
        return shortage
    exchange.rate_lines = counters.rate_lines()
    return None


def _decider(exchange: Exchange) -> Decider:
    """What chooses from all that the caller may use. Raises :class:`GatewayError`."""
    caller, auto = exchange.caller, exchange.runtime.router.auto
    assert caller is not None
    route = None if auto is None else auto.route(caller.models)
    decider = None if route is None else route.learned
    if decider is None:
        message = "ML routing is not available on this gateway."
        raise GatewayError(Kind.INTERNAL, "ml_routing_failed", message)
    return decider


def _one(exchange: Exchange, decider: Decider, raw: bytes, events: list[UsageEvent]) -> Whole:
    chosen = _choose(exchange, decider, read_one(raw), exchange.id, "balanced", decider.weighing, "")
    _count(exchange, chosen)
    events.append(_event(exchange, exchange.id, chosen))
    return answering.whole(exchange.id, chosen, exchange.started_ns // 1_000_000_000)


def _batch(exchange: Exchange, decider: Decider, raw: bytes, events: list[UsageEvent]) -> Batch:
    asked: AskedBatch = read_batch(raw)
    weighing = decider.weighing
    if asked.balance:  # what is taken together is not drawn
        weighing = Weighing(exploration=0.0)
    clock = exchange.wire.worker.clock
    ids = [clock.request_id() for _ in asked.requests]
    found = [
        _choose(exchange, decider, one, ids[place], asked.goal, weighing, f"requests[{place}].")
        for place, one in enumerate(asked.requests)
    ]
    if asked.balance:
        found = balance(found, asked.order)
    for chosen in found:
        _count(exchange, chosen)
    events.extend(_event(exchange, id, chosen) for id, chosen in zip(ids, found, strict=True))
    shown = [answering.decided(id, one) for id, one in zip(ids, found, strict=True)]
    batch_id = f"batch_{exchange.id.removeprefix('req_')}"
    return Batch(batch_id, shown, answering.metrics(shown, exchange.started))


def _choose(
    exchange: Exchange, decider: Decider, asked: Asked, id: str, goal: OptimizeFor, weighing: Weighing, within: str
) -> Chosen:
    offered = decider.offered
    assert offered is not None
    now = exchange.wire.loop.time()
    tokens = asked.tokens
    places: list[int] = []
    resting: list[int] = []
    for at, target in enumerate(decider.targets):
        length = decider.lengths[at]
        if not length or length >= tokens:
            (places if target.ready_at(now) <= now else resting).append(decider.located[at])
    if not places and not resting:
        raise fault(f"{within}messages", f"about {tokens} tokens; the longest context takes {max(decider.lengths)}")
    ask = Ask(
        prompt=asked.prompt,
        optimize_for=asked.goal or goal,
        constraints=asked.constraints,
        prompt_tokens=tokens,
    )
    lessons = exchange.wire.worker.taught.of(exchange.organization)
    try:
        return offered.choose(Question(id, ask, weighing, lessons, places, resting, exchange.organization))
    except GatewayError as error:
        raise _spelt(error, within) from None


def _spelt(error: GatewayError, within: str) -> GatewayError:
    """The refusal by a constraint, with the reference's name of it."""
    name = (error.field or "").rpartition(".")[2]
    spelt = SPELT.get(name, name)
    field = f"{within}constraints.{spelt}"
    message = error.message.replace(name, spelt)
    return GatewayError(error.kind, error.code, message, field, invalid=[FieldFault(field, message)])


def _count(exchange: Exchange, chosen: Chosen) -> None:
    best = chosen.order[0]
    exchange.wire.worker.metrics.decided(AUTO, best.provider.name, best.model, result_of(chosen.told))


def _event(exchange: Exchange, id: str, chosen: Chosen) -> UsageEvent:
    caller, target = exchange.caller, chosen.order[0]
    assert caller is not None
    started_ns = exchange.started_ns
    # In the order of the fields: by name, it takes twice as long.
    return UsageEvent(
        id,
        exchange.endpoint,
        started_ns,
        None,  # first_token_ns
        started_ns + int((time.perf_counter() - exchange.started) * 1e9),
        caller.id,
        caller.organization,
        AUTO,
        target.provider.name,
        target.model,
        [],  # attempts
        _NO_TOKENS,
        False,  # estimated
        False,  # stream
        "ok",
        200,
        0,  # cost_nanos
        exchange.tags,
        caller.user,
        None,  # fallback
        chosen.told,
    )


def _settle(exchange: Exchange, events: list[UsageEvent]) -> None:
    """Tell of each decision; the answer goes out with the last one."""
    if exchange.outcome != "ok" or not events:
        settle(exchange)
        return
    worker = exchange.wire.worker
    for event in events[:-1]:
        worker.sink.append(event, _nothing)
        worker.metrics.served(event)
        worker.log.access(event)
    settle(exchange, events[-1])


def _nothing() -> None:
    """The answer waits for the last event."""
