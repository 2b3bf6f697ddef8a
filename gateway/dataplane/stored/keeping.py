"""The end of a request of the Responses API: its Response is kept before the client has the answer's end.

So whoever has read a Response can go on from it at once, at any worker of the machine.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from gateway.dataplane.stored.beginning import organization_of, store_of
from gateway.dataplane.stored.conversations import Write, adding
from gateway.dataplane.stored.database import ending
from gateway.dataplane.stored.records import Json, Record, kept
from gateway.dataplane.stored.session import Session
from gateway.kernel.errors import GatewayError
from gateway.protocols.responses.response import Memo, failed

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange

logger = logging.getLogger("gateway.responses")


async def keep(exchange: Exchange) -> None:
    """Keep the Response of a request that is over. Never raises: the client gets its answer in any case."""
    interpreter = exchange.interpreter
    session = interpreter.protocol if interpreter is not None else None
    if not isinstance(session, Session) or exchange.grant is None or session.memo is None:
        return
    try:
        if session.wanted.background:
            await _end(exchange, session, session.memo)
        elif session.wanted.store and session.final is not None and not exchange.disconnected:
            await exchange.before_waiting()
            await _put(exchange, session, session.final)
        elif session.wanted.conversation is not None and session.final is not None and not exchange.disconnected:
            await exchange.before_waiting()
            record = session.record(session.final, session.final["status"])
            await store_of(exchange).change(*_said(exchange, session, record))
    except asyncio.CancelledError:
        return  # the client left while it was written
    except GatewayError as error:
        logger.error("a response was not stored", extra={"request_id": exchange.id, "detail": error.message})
    except Exception:
        logger.exception("a response was not stored", extra={"request_id": exchange.id})


async def _put(exchange: Exchange, session: Session, final: Json) -> None:
    record = session.record(final, final["status"])
    await store_of(exchange).put(organization_of(exchange), record, _said(exchange, session, record))


def _said(exchange: Exchange, session: Session, record: Record) -> list[Write]:
    """What the conversation gets of a Response: what was asked and what was answered."""
    conversation = session.wanted.conversation
    if conversation is None or record.status not in ("completed", "incomplete"):
        return []
    items = [item for item in record.said() if "id" in item]
    return adding(organization_of(exchange), conversation, items, int(time.time()))


async def _end(exchange: Exchange, session: Session, memo: Memo) -> None:
    """One in the background is over; in the store it is already where that was a client's wish."""
    try:
        final = session.final
        if final is None and not exchange.disconnected:
            final = failed(memo, {}, [], 502, {})
        if final is not None:
            told = _told(exchange, memo, final)
            said = _said(exchange, session, session.record(final, final["status"]))
            ended = ending(organization_of(exchange), memo.id, final["status"], kept(final))
            await store_of(exchange).change(*told, *said, ended)
    finally:
        exchange.wire.worker.running.over(memo.id)


def _told(exchange: Exchange, memo: Memo, final: Json) -> list[Write]:
    """The last events of one that is streamed."""
    log = exchange.wire.worker.running.logs.get(memo.id)
    if log is None:
        return []
    log.feed(exchange.held)  # which goes out once this is written
    if not log.ended:
        log.tell(f"response.{final['status']}", {"response": final})
    return log.writes()
