"""Sending a request to one target: take a connection, write, wait until the attempt is over."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from gateway.dataplane import body as bodies
from gateway.dataplane.attempt import Attempt
from gateway.dataplane.flow import INTO_TASK
from gateway.dataplane.places import take_turn, weight_of, who_waits
from gateway.dataplane.translating import adapted, foreign_request, note_dropped
from gateway.dataplane.upload import request_with
from gateway.dataplane.upstream.errors import UpstreamError

if TYPE_CHECKING:
    from gateway.dataplane.concurrency import Limit
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.target import Target
    from gateway.dataplane.upstream.connection import Connection

STALE: Final = "stale_connection"
"""The reason of an attempt on a connection that the upstream had closed already: it says nothing of the target."""


def attempt_once(exchange: Exchange, target: Target) -> Coroutine[Any, Any, Attempt]:
    """Make one attempt, when its turn has come where the target has a limit. Raises as :meth:`Exchange.check`."""
    limit = target.limit
    return _attempt(exchange, target) if limit is None else _attempt_in_turn(exchange, target, limit)


async def _attempt_in_turn(exchange: Exchange, target: Target, limit: Limit) -> Attempt:
    try:
        waiter = None if exchange.place is None and limit.take() else await take_turn(exchange, target, limit)
    except UpstreamError as error:
        attempt = Attempt(exchange, target)
        attempt.error = error
        return attempt
    try:
        return await _attempt(exchange, target)
    finally:
        limit.release(waiter)


async def _attempt(exchange: Exchange, target: Target) -> Attempt:
    """Send the request and wait until its answer is complete, relayed, or failed.

    A kept-alive connection that the upstream closed just when it was used again is not a failure of the upstream: the
    request goes out once more, on a connection that was looked at or is new. Once only: a request that makes an
    upstream break must not break all its connections.
    """
    pool = target.pool
    # Made before a connection is held, because it may refuse; of an upload more arrives while one is being made.
    is_relayed = exchange.upload is not None and target.translator is None
    request = None if is_relayed else request_for(exchange, target)
    again = False
    while True:
        attempt = Attempt(exchange, target)
        try:
            connection = pool.take_idle() or await acquire(exchange, target)
        except UpstreamError as error:
            attempt.error = error
            return attempt
        exchange.attempt = attempt
        exchange.target = target
        exchange.tokens = None
        exchange.events_seen = 0
        exchange.uncounted = None
        attempt.send(connection, request or request_for(exchange, target))
        try:
            await attempt
        except asyncio.CancelledError:
            attempt.cancel()
            raise
        finally:
            exchange.attempt = None
            if attempt.events is not None:
                exchange.tokens = attempt.events.tokens
                exchange.events_seen = attempt.events.events
                exchange.uncounted = attempt.events
        if again or not attempt.went_stale:
            return attempt
        again = True
        exchange.attempts.append(attempt.record(STALE))
        pool.drop_stale()


async def acquire(exchange: Exchange, target: Target) -> Connection:
    """A connection to a target, once there is one. Raises :class:`UpstreamError` and as :meth:`Exchange.check`."""
    if exchange.by_hand:
        await INTO_TASK
    pool = target.pool
    timeouts = exchange.timeouts_at(target)
    deadline = min(exchange.wire.loop.time() + timeouts.first_token, exchange.deadline)
    connection = await pool.acquire(deadline, timeouts.connect, who_waits(exchange), weight_of(exchange))
    try:
        exchange.check()
    except BaseException:
        pool.release(connection)
        raise
    return connection


def request_for(exchange: Exchange, target: Target) -> list[bytes | memoryview]:
    """The head and the body to send to a target, in pieces; the first is all where the body is small."""
    if exchange.runtime.tracer is not None:
        exchange.runtime.tracer.propagate(exchange)
    if exchange.interpreter is not None or target.translator is not None:
        return foreign_request(exchange, target)
    head = target.head_for(exchange.spec.path)
    if exchange.upload is not None:
        note_dropped(exchange, ())  # of a target before this one
        return request_with(exchange, exchange.upload, head, target.model)
    fields = exchange.fields
    assert fields is not None
    if exchange.seam is not None:
        fields = exchange.seam.fields_for(fields, target)
    fields["model"] = target.model_raw
    if exchange.stream and exchange.spec.generates and not exchange.hide_usage:
        exchange.hide_usage = bodies.ask_for_usage(fields)
    if target.adapts is not None:
        fields = adapted(exchange, target, target.adapts, fields)
    elif exchange.response_headers:
        note_dropped(exchange, ())
    if target.local and exchange.caller is not None:
        head += f"x-gateway-organization: {who_waits(exchange)}\r\n".encode("latin-1", "replace")
        head += b"x-gateway-usage: each\r\n"
    if len(exchange.raw) < bodies.JOINED:
        body = bodies.encode(fields)
        return [_head(head, exchange.forwarded, len(body)) + body]
    pieces = bodies.parts(fields)
    return [_head(head, exchange.forwarded, sum(map(len, pieces))), *pieces]


def _head(head: bytes, forwarded: bytes, size: int) -> bytes:
    return b"%b%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (head, forwarded, size)
