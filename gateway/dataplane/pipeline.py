"""What happens to an inference request, top to bottom.

Parse, authenticate (done when the head came, see ``server``), admit, plugins, route, call and relay, settle and emit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from gateway.dataplane import answers
from gateway.dataplane import body as bodies
from gateway.dataplane.admission.limiter import undo
from gateway.dataplane.admitting import admit, enter, identify, widen
from gateway.dataplane.breaker import CLOSED
from gateway.dataplane.calling import call_target, recovered
from gateway.dataplane.choosing import choose
from gateway.dataplane.continuing import resume
from gateway.dataplane.counts import count_tokens, counted_by, counts_itself, recounted
from gateway.dataplane.learned.ordering import note_wish, note_wish_early, order_fallback, prepare
from gateway.dataplane.places import give_back, place_anywhere
from gateway.dataplane.settlement import repaired, settle, uncounted, usage_event
from gateway.dataplane.stored.background import detach_if_wanted
from gateway.dataplane.stored.beginning import begin
from gateway.dataplane.stored.keeping import keep
from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.api import Answer
from gateway.providers.base import Unsupported

if TYPE_CHECKING:
    from gateway.dataplane.attempt import Attempt
    from gateway.dataplane.counting.wire import Counted
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.routing import Route

logger = logging.getLogger("gateway.pipeline")


async def handle(exchange: Exchange) -> None:
    """Serve one request whose body is here (or, for an upload, whose model is known). Never raises."""
    chain = exchange.runtime.chain
    try:
        exchange.begin()
        if exchange.caller is None:
            await identify(exchange)
        parse(exchange)
        if exchange.spec.stateful:
            note_wish_early(exchange)
            await begin(exchange)
        shortage = admit(exchange)
        if shortage is not None:
            await widen(exchange, shortage)
        if exchange.route is not None and exchange.route.learned is not None:
            note_wish(exchange)
        if exchange.spec.stateful:
            await detach_if_wanted(exchange)
        exchange.turns = chain.turns
        answer = await consult_plugins(exchange) if chain.on_request else None
        if answer is not None:
            answers.give(exchange, answer)
        else:
            await call(exchange)
    except GatewayError as error:
        if chain.on_error:
            await chain.error(exchange, error)
        answers.fail(exchange, error)
    except asyncio.CancelledError:
        answers.interrupted(exchange)
    except Exception:
        logger.exception("request failed", extra={"request_id": exchange.id})
        answers.fail(exchange, GatewayError(Kind.INTERNAL, "internal_error", "The gateway failed at this request."))
    finally:
        if exchange.place is not None:
            give_back(exchange)
        if exchange.spec.stateful:
            await keep(exchange)
        if chain.on_usage and exchange.grant is not None:
            await settle_with_plugins(exchange)
        else:
            settle(exchange)


def parse(exchange: Exchange) -> None:
    """Read what the gateway needs from the body and check it. Raises :class:`GatewayError`."""
    upload = exchange.upload
    if upload is not None:
        exchange.model = upload.model or usual_model(exchange)
        if not exchange.model:
            raise bodies.invalid(
                "You must name a model: the form has no 'model'.", "model", "missing_required_parameter"
            )
        return
    exchange.raw = exchange.take_body()
    read_fields(exchange)


def usual_model(exchange: Exchange) -> str:
    """Which model a form without one means: OpenAI's default, or where that is not there the only one that serves the
    endpoint and that the caller may use. Empty where the endpoint has no default.
    """
    spec, routes = exchange.spec, exchange.runtime.router.routes
    usual = spec.default_model
    if usual is None or usual in routes:
        return usual or ""
    allowed = exchange.caller.models if exchange.caller is not None else frozenset()
    found = [
        name
        for name, route in routes.items()
        if (not allowed or name in allowed) and any(target.serves(spec.name) for target in route.targets)
    ]
    return found[0] if len(found) == 1 else usual


def read_fields(exchange: Exchange) -> None:
    """The top level of the JSON body, and from it model, stream and limits."""
    fields = exchange.fields = bodies.decode(exchange.raw)
    spec = exchange.spec
    exchange.model = bodies.model_of(fields, spec)
    bodies.check_prompt(fields, spec)
    exchange.stream = bodies.stream_of(fields)
    if spec.generates:
        exchange.max_tokens = bodies.max_tokens_of(fields, 1 if spec.prompt == "messages" else 0)


async def consult_plugins(exchange: Exchange) -> Answer | None:
    """Let the plugins change, answer or refuse the request; what they changed is taken over and admitted anew."""
    chain = exchange.runtime.chain
    interpreter = exchange.interpreter
    if interpreter is not None:
        interpreter.to_chat(exchange)  # what plugins know
    raw, asked = exchange._raw, exchange.model
    answer = await chain.request(exchange)
    if answer is not None:
        return answer
    chosen = exchange.model
    if exchange.is_json and exchange._raw is not raw:
        if interpreter is not None:
            interpreter.changed = True
        read_fields(exchange)
        if chosen != asked:
            exchange.model = chosen
    elif chosen == asked:
        return None
    if exchange.grant is not None:
        undo(exchange.grant)
        exchange.grant = None
    shortage = admit(exchange)
    if shortage is not None:
        await widen(exchange, shortage)
    return None


def find_route(exchange: Exchange) -> Route:
    """The route of the model the request now names. Raises :class:`GatewayError`."""
    assert exchange.caller is not None
    if exchange.route is not None and exchange.route.name == exchange.model:
        return exchange.route
    return exchange.runtime.router.find(exchange.model, exchange.caller.models)


async def call(exchange: Exchange) -> None:
    """Try the route's targets until one answers; relay or return its answer. Raises :class:`GatewayError`."""
    loop = exchange.wire.loop
    route = find_route(exchange)
    if route.learned is not None:
        await prepare(exchange, route.learned)
    if exchange.interpreter is not None:
        if exchange.spec.free and not counts_itself(exchange, route):
            await count_tokens(exchange, route)
            return
        if route.picky or route.mirror is not None:
            with contextlib.suppress(Unsupported):  # of which only targets of its own protocol can be asked
                exchange.interpreter.to_chat(exchange)
    targets = choose(exchange, route, loop.time())
    if route.mirror is not None and targets and (exchange.interpreter is None or exchange.interpreter.is_chat):
        route.mirror.reflect(exchange, targets[0])
    if len(targets) > 1 and not targets[0].has_room:
        targets = await place_anywhere(exchange, targets)
    assert exchange.caller is not None
    limited = exchange.caller.limiter.at_providers
    attempt: Attempt | None = None
    refusal: GatewayError | None = None
    for target in targets:
        if attempt is not None and not answers.may_follow(exchange, attempt, target):
            continue
        is_closed = target.breaker.state == CLOSED
        if not is_closed and not await recovered(exchange, target):
            refusal = answers.at_rest(target, loop.time())
            give_back(exchange)
            continue
        refused = None
        try:
            if limited:
                refused = await enter(exchange, target)
            if refused is None:
                attempt = await call_target(exchange, target, route, targets)
                if attempt is None:
                    return
        except Unsupported as error:
            refused = error  # another target may be able to say it
        finally:
            if not is_closed:
                target.breaker.release(loop.time())
        if refused is not None:
            refusal = refused
            give_back(exchange)
        elif attempt is not None and attempt.relayed:
            break
        if route.learned_fallbacks:
            order_fallback(exchange, route, targets, targets.index(target) + 1, loop.time())
    if attempt is not None:
        if attempt.relayed:
            await resume(exchange, attempt, route)
        else:
            answers.give_up(exchange, attempt)
        return
    raise refusal or not_served(exchange, route)


def not_served(exchange: Exchange, route: Route) -> GatewayError:
    """The refusal of an endpoint that none of a model's targets has."""
    kinds = ", ".join(dict.fromkeys(f"'{target.provider.kind}'" for one in route.chain for target in one.targets))
    message = (
        f"The model '{exchange.model}' does not serve {exchange.spec.path.decode()}: providers of kind {kinds} don't"
        " have that here."
    )
    return bodies.invalid(message, "model", "unsupported_endpoint")


async def settle_with_plugins(exchange: Exchange) -> None:
    """Settle, with ``on_usage`` in between. A second cancellation must not keep the grant from being freed."""
    counted: Counted | None = None
    event = usage_event(exchange)
    try:
        seam = exchange.seam
        if seam is not None and seam.parts.parts:
            await recounted(exchange, seam.parts)
            event = usage_event(exchange)
        ask = uncounted(exchange)
        if ask is not None:
            counted = await counted_by(exchange, ask)
            event = usage_event(exchange, counted)
        await exchange.runtime.chain.usage(exchange, event)
    finally:
        settle(exchange, repaired(exchange, event, counted))
