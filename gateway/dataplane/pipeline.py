"""What happens to an inference request, top to bottom.

Parse, authenticate (done when the head came, see ``server``), admit, plugins, route, call and relay, settle and emit.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

from gateway.dataplane import answers
from gateway.dataplane import body as bodies
from gateway.dataplane.admission import BYTES_PER_TOKEN, DEFAULT_COMPLETION_TOKENS
from gateway.dataplane.attempt import Attempt
from gateway.dataplane.pricing import worst_case
from gateway.dataplane.settlement import settle, usage_event
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.api import Answer
from gateway.plugin.api import Route as RouteView

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.routing import Route, Target

logger = logging.getLogger("gateway.pipeline")

_LONGEST_PAUSE = 5.0  # seconds; an upstream that asks for more is passed over, and the client told


async def handle(exchange: Exchange) -> None:
    """Serve one request whose body is here (or, for an upload, whose model is known). Never raises."""
    chain = exchange.runtime.chain
    try:
        parse(exchange)
        admit(exchange)
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
        if chain.on_usage:
            await settle_with_plugins(exchange)
        else:
            settle(exchange)


def parse(exchange: Exchange) -> None:
    """Read what the gateway needs from the body and check it. Raises :class:`GatewayError`."""
    upload = exchange.upload
    if upload is not None:
        exchange.model = upload.model or exchange.spec.default_model or ""
        if not exchange.model:
            raise bodies.invalid(
                "You must name a model: the form has no 'model'.", "model", "missing_required_parameter"
            )
        return
    exchange.raw = exchange.take_body()
    read_fields(exchange)


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
    """Let the plugins change, answer or refuse the request; take over what they changed."""
    chain = exchange.runtime.chain
    raw, asked = exchange._raw, exchange.model
    answer = await chain.request(exchange)
    if answer is None and exchange.is_json and exchange._raw is not raw:
        chosen = exchange.model
        read_fields(exchange)
        if chosen != asked:
            exchange.model = chosen
    return answer


def find_route(exchange: Exchange) -> Route:
    """The route of the model the request now names. Raises :class:`GatewayError`."""
    assert exchange.caller is not None
    if exchange.route is not None and exchange.route.name == exchange.model:
        return exchange.route
    return exchange.runtime.router.find(exchange.model, exchange.caller.models)


def admit(exchange: Exchange) -> None:
    """Reserve one request, its tokens and its money, or refuse it whole. Raises :class:`GatewayError`."""
    caller = exchange.caller
    assert caller is not None
    route = exchange.route = exchange.runtime.router.find(exchange.model, caller.models)
    if not caller.limiter.counters:
        exchange.grant = caller.limiter.admit(0, 0, 0.0)
        return
    prompt = len(exchange.raw) // BYTES_PER_TOKEN + 1 if exchange.is_json else 0
    completion = 0
    if exchange.spec.generates:
        completion = DEFAULT_COMPLETION_TOKENS if exchange.max_tokens is None else exchange.max_tokens
    cost = 0
    if caller.limiter.cost:
        for target in route.candidates(exchange.endpoint, 0.0):
            if target.rate is None:
                raise GatewayError(
                    Kind.FORBIDDEN,
                    "model_not_priced",
                    f"Your key has a budget, and '{exchange.model}' has no price to count against it.",
                    "model",
                )
            cost = max(cost, worst_case(target.rate, prompt, completion))
    exchange.grant = caller.limiter.admit(prompt + completion, cost, time.time())


async def call(exchange: Exchange) -> None:
    """Try the route's targets until one answers; relay or return its answer. Raises :class:`GatewayError`."""
    loop = exchange.wire.loop
    route = find_route(exchange)
    targets = route.candidates(exchange.endpoint, loop.time())
    if not targets:
        raise bodies.invalid(
            f"The model '{exchange.model}' does not serve {exchange.spec.path.decode()}.",
            "model",
            "unsupported_endpoint",
        )
    last = len(targets) - 1
    for index, target in enumerate(targets):
        if await call_target(exchange, route, target, is_last=index == last):
            return


async def call_target(exchange: Exchange, route: Route, target: Target, *, is_last: bool) -> bool:
    """Try one target as often as its provider allows. True: the client has its answer, or its error."""
    chain = exchange.runtime.chain
    retry = target.provider.retry
    number = 1
    while True:
        if chain.on_route:
            await chain.route(exchange, RouteView(route.name, target.provider.name, target.model))
        attempt = await attempt_once(exchange, target)
        if exchange.refusal is not None and not exchange.response_started:
            raise exchange.refusal
        if attempt.cancelled:
            exchange.attempts.append(attempt.record("cancelled"))
            exchange.outcome = "cancelled"
            return True
        if await answers.conclude(exchange, attempt):
            return True
        replayable = exchange.upload is None
        # A busy target is not asked again while another may be free.
        pause = None if attempt.status == 429 and not is_last else pause_before_retry(attempt, number, retry.backoff)
        if number >= retry.attempts or pause is None or not replayable:
            if is_last or not replayable:
                answers.give_up(exchange, attempt)
                return True
            return False
        await asyncio.sleep(pause)
        number += 1


def pause_before_retry(attempt: Attempt, number: int, backoff: float) -> float | None:
    """Seconds to wait before the same target is tried again; None where that makes no sense.

    Exponential with full jitter (Brooker, "Exponential Backoff And Jitter"), or what ``Retry-After`` asks for.
    """
    error = attempt.error
    if error is not None and error.reason in ("total_timeout", "first_token_timeout", "queue_full", "queue_timeout"):
        return None
    if attempt.retry_after is not None:
        try:
            asked = float(attempt.retry_after)
        except ValueError:
            return None
        return asked if 0 <= asked <= _LONGEST_PAUSE else None
    return random.uniform(0, min(_LONGEST_PAUSE, backoff * 2 ** (number - 1)))


async def attempt_once(exchange: Exchange, target: Target) -> Attempt:
    """Send the request and wait until its answer is complete, relayed, or failed.

    A kept-alive connection that the upstream closed just when it was used again is not a failure of the upstream: the
    request goes out once more, on a connection that was looked at or is new.
    """
    attempt = await send_once(exchange, target)
    while attempt.went_stale:
        target.pool.drop_stale()
        attempt = await send_once(exchange, target)
    return attempt


async def send_once(exchange: Exchange, target: Target) -> Attempt:
    """Take a connection, send, and wait for the end."""
    loop = exchange.wire.loop
    attempt = Attempt(exchange, target, loop.create_future())
    pool = target.pool
    connection = pool.take_idle()
    if connection is None:
        try:
            connection = await pool.acquire(loop.time() + target.provider.timeouts.first_token)
        except UpstreamError as error:
            attempt.error = error
            return attempt
    exchange.attempt = attempt
    exchange.target = target
    attempt.send(connection, *request_for(exchange, target))
    try:
        await attempt.done
    except asyncio.CancelledError:
        attempt.cancel()
        raise
    finally:
        exchange.attempt = None
        if attempt.events is not None:
            exchange.tokens = attempt.events.tokens
            exchange.events_seen = attempt.events.events
    return attempt


def request_for(exchange: Exchange, target: Target) -> tuple[bytes, bytes]:
    """The head and the body to send to a target."""
    head = target.head_for(exchange.spec.path)
    if exchange.runtime.tracer is not None:
        exchange.runtime.tracer.propagate(exchange)
    if exchange.upload is not None:
        return exchange.upload_request(head, target.model)
    fields = exchange.fields
    assert fields is not None
    fields["model"] = target.model_raw
    if exchange.stream and exchange.spec.generates and not exchange.hide_usage:
        exchange.hide_usage = bodies.ask_for_usage(fields)
    body = bodies.encode(fields)
    organization = b""
    if target.local and exchange.caller is not None:
        organization = f"x-gateway-organization: {exchange.caller.organization}\r\n".encode("latin-1", "replace")
    line = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head + exchange.forwarded + organization + line, body


async def settle_with_plugins(exchange: Exchange) -> None:
    """Settle, with ``on_usage`` in between. A second cancellation must not keep the grant from being freed."""
    event = usage_event(exchange)
    try:
        await exchange.runtime.chain.usage(exchange, event)
    finally:
        settle(exchange, event)
