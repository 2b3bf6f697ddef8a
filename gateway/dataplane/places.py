"""A request's place at a target that takes no more calls at once: waited for there, or at several targets together."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from gateway.dataplane.breaker import CLOSED
from gateway.dataplane.envelope import upstream_failure
from gateway.dataplane.flow import INTO_TASK
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.dataplane.waiting import Waiter, was_given

if TYPE_CHECKING:
    from gateway.dataplane.concurrency import Limit
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.target import Target


class Place:
    """A call that may begin, and has not yet: for :meth:`Limit.release`, or an attempt."""

    __slots__ = ("limit", "waiter")

    def __init__(self, limit: Limit, waiter: Waiter[Limit]) -> None:
        self.limit = limit
        self.waiter = waiter


def give_back(exchange: Exchange) -> None:
    """The request does not need the place it holds."""
    place, exchange.place = exchange.place, None
    if place is not None:
        place.limit.release(place.waiter)


async def take_turn(exchange: Exchange, target: Target, limit: Limit) -> Waiter[Limit] | None:
    """Wait until a target has room; what its limit's ``release`` takes.

    Raises :class:`UpstreamError` where there won't be any in time, and as :meth:`Exchange.check`.
    """
    place = exchange.place
    if place is not None and place.limit is limit:
        exchange.place = None
        return place.waiter
    give_back(exchange)
    if limit.take():
        return None
    now, began = exchange.wire.loop.time(), time.perf_counter()
    deadline = _deadline(exchange, target, now)
    who, weight = who_waits(exchange), weight_of(exchange)
    limit.room.check(who, weight, now, deadline)  # a refusal needs no task
    waiter = None
    try:
        if exchange.by_hand:
            await INTO_TASK
        if not limit.take():
            waiter = await limit.turn(who, weight, deadline)
    finally:
        _waited(exchange, began)
    try:
        exchange.check()
    except BaseException:
        limit.release(waiter)
        raise
    return waiter


async def place_anywhere(exchange: Exchange, targets: list[Target]) -> list[Target]:
    """Of targets without room, wait at all together; who has room first comes first then, and the place is kept.

    Raises :class:`~gateway.kernel.errors.GatewayError` where none had room in time, and as :meth:`Exchange.check`.
    """
    full = [target for target in targets if target.limit is not None and target.breaker.state == CLOSED]
    if len(full) < 2:
        return targets
    loop = exchange.wire.loop
    began = time.perf_counter()
    item: asyncio.Future[Limit] = loop.create_future()
    entered, until = _enter(exchange, full, loop.time(), item)
    if not entered:
        return targets  # each says why when it is tried
    timer = loop.call_at(until, entered[0][1].room.expire, item)
    try:
        if exchange.by_hand:
            await INTO_TASK
        limit = await item
    except UpstreamError as error:
        if error.reason == "queue_timeout":
            raise upstream_failure(error) from error
        return targets
    except asyncio.CancelledError:
        if was_given(item):
            item.result().release(next(waiter for _, each, waiter in entered if each is item.result()))
        raise
    finally:
        timer.cancel()
        now = loop.time()
        for _, each, waiter in entered:
            each.room.leave(waiter, now)
        _waited(exchange, began)
    first, waiter = next((target, waiter) for target, each, waiter in entered if each is limit)
    exchange.place = Place(limit, waiter)
    exchange.check()
    return [first, *(target for target in targets if target is not first)]


def _enter(
    exchange: Exchange, full: list[Target], now: float, item: asyncio.Future[Limit]
) -> tuple[list[tuple[Target, Limit, Waiter[Limit]]], float]:
    """Begin to wait wherever that makes sense; until when at the latest."""
    who, weight = who_waits(exchange), weight_of(exchange)
    entered, until = [], now
    for target in full:
        limit = target.limit
        assert limit is not None
        deadline = _deadline(exchange, target, now)
        try:
            entered.append((target, limit, limit.room.enter(who, weight, now, deadline, item)))
        except UpstreamError as error:
            limit.room.refused[error.reason] -= 1  # told, and counted, where it is asked alone
            continue
        until = max(until, deadline)
    return entered, until


def weight_of(exchange: Exchange) -> float:
    """The weight of the caller's plan, among organisations that wait for the same provider."""
    plans = exchange.runtime.settings.plans
    if exchange.caller is not None and exchange.caller.plan is not None and not isinstance(plans, str):
        for plan in plans:
            if plan.name == exchange.caller.plan:
                return plan.weight * exchange.share
    return exchange.share


def who_waits(exchange: Exchange) -> str:
    """In whose line it waits: its organisation's live requests don't wait behind what has less of a share."""
    return exchange.organization if exchange.share == 1.0 else f"{exchange.organization} (background)"


def _deadline(exchange: Exchange, target: Target, now: float) -> float:
    """Until when a request may wait for a target, as for a connection to it."""
    return min(now + exchange.timeouts_at(target).first_token, exchange.deadline)


def _waited(exchange: Exchange, began: float) -> None:
    seconds = time.perf_counter() - began  # the loop's clock has milliseconds, and a turn may come sooner
    exchange.waited += seconds
    exchange.queued += seconds
