"""The body of an inference request as it arrives: kept for the pipeline, passed on to an upstream, or let go by.

Functions over a client's connection, which calls :func:`receive` for each piece. A body is bounded by what one request
may have, by less while its turn has not come, and by less while it is not known whose it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.dataplane.admitting import identify
from gateway.dataplane.opening import body_too_large
from gateway.dataplane.upload import is_kept
from gateway.kernel.errors import GatewayError

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.server import GatewayProtocol
    from gateway.dataplane.upload import Upload

DISCARDED: Final = 1_048_576
"""Bytes of a refused body that are read to keep the connection; beyond, it is closed."""
_WINDOW: Final = 262_144  # bytes of a body kept while it can't be served or sent on yet


def receive(wire: GatewayProtocol, exchange: Exchange, data: bytes) -> None:
    """A piece of the body of the last request that was parsed."""
    if exchange.response_complete or exchange.refusal is not None:
        _discard(wire, exchange, data)
        return
    if exchange.upload is not None:
        _upload(wire, exchange, exchange.upload, data)
        return
    wire.busy_since = wire.loop.time()
    size = exchange.feed(data)
    if size > wire.worker.max_body_bytes:
        refuse(wire, exchange, body_too_large(wire.worker))
    elif not exchange.turn and size > _WINDOW:
        wire.read_more(False)  # it goes on when those before it are answered
    elif exchange.caller is None and size > _WINDOW:
        _look_up(wire, exchange)


def refuse(wire: GatewayProtocol, exchange: Exchange, error: GatewayError) -> None:
    """Answer with an error as soon as it is the request's turn."""
    exchange.drop_body()
    if exchange.flow is not None:
        exchange.keep_alive = False
        exchange.refuse(error)
        return
    exchange.refusal = error
    if exchange.turn:
        answer_early(wire, exchange)


def answer_early(wire: GatewayProtocol, exchange: Exchange) -> None:
    """Answer a refused request before its body is complete; the connection can't be used again."""
    assert exchange.refusal is not None
    exchange.keep_alive = False
    wire.run(exchange)


def _discard(wire: GatewayProtocol, exchange: Exchange, data: bytes) -> None:
    exchange.received += len(data)
    unanswered = exchange.flow is None and exchange.turn and not exchange.settled
    if exchange.received > DISCARDED and unanswered:
        answer_early(wire, exchange)


def _upload(wire: GatewayProtocol, exchange: Exchange, upload: Upload, data: bytes) -> None:
    exchange.received += len(data)
    if exchange.received > wire.worker.max_body_bytes:
        refuse(wire, exchange, body_too_large(wire.worker))
        return
    try:
        upload.feed(data)
    except GatewayError as error:
        refuse(wire, exchange, error)
        return
    if exchange.upload_more(data):
        return
    held = exchange.feed(data)
    if exchange.flow is not None:
        if held > _WINDOW:
            wire.read_more(False)
        return
    wire.busy_since = wire.loop.time()
    if upload.model is not None and exchange.turn and not is_kept(exchange, upload):
        wire.run(exchange)
    elif exchange.caller is None and held > _WINDOW:
        _look_up(wire, exchange)


def _look_up(wire: GatewayProtocol, exchange: Exchange) -> None:
    """No more is kept of one who is not known before it is known who that is."""
    if wire.reading and exchange.turn:
        wire.read_more(False)
        wire.lookup = wire.loop.create_task(_learn(wire, exchange))


async def _learn(wire: GatewayProtocol, exchange: Exchange) -> None:
    try:
        if not exchange.response_complete:
            await identify(exchange)
    except GatewayError as error:
        if exchange.flow is None and not exchange.response_complete:
            refuse(wire, exchange, error.with_traceback(None))
    finally:
        wire.read_more(True)
