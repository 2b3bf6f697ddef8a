"""``/activity``: what the caller did, through the gateway and by their own word."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import Field

from gateway.dialects.common.context import ContextOf
from gateway.dialects.common.models import Answer, Asked, Dollars, EndMoment, Instant, Moment, Parameters
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading, Writing
from gateway.domain.analytics.activity import CALL, ActivityService, NewActivity
from gateway.domain.analytics.periods import Range, between, of_ns, of_seconds
from gateway.domain.analytics.service import Reader, Shown
from gateway.domain.fields import LARGEST, invalid
from gateway.domain.ledger.query import Filter, Sums
from gateway.kernel.money import to_dollars, to_nanos

router = make_router()
NUMBERS = ("requests", "prompt_tokens", "completion_tokens", "cost_nanos")
_LARGEST = 16_384  # bytes of JSON
_MOST_DOLLARS = 1_000_000


class NewEvent(Asked):
    """An event. ``model``, ``tokens`` (or ``prompt_tokens`` and ``completion_tokens``) and ``cost`` of ``event_data``
    make it usage, which counts in every sum; the rest of it is kept as it is."""

    event_type: str = Field(min_length=1, max_length=100)
    event_data: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)


class LoggedAnswer(Answer):
    """What was kept."""

    success: bool = True
    activity_id: str
    timestamp: Instant


class Chosen(Parameters):
    """Which events. A date alone is the whole day."""

    event_type: str | None = Field(default=None, max_length=100)
    start_date: Moment | None = None
    end_date: EndMoment | None = None
    limit: int = Field(default=50, ge=1, le=1000)
    offset: int = Field(default=0, ge=0, le=1_000_000_000)


class Event(Answer):
    """One event. That of a request has its ``model``, ``tokens`` and ``cost``: null where nobody knows the price."""

    id: str
    event_type: str
    event_data: dict[str, Any]
    timestamp: Instant


class Events(Answer):
    """A page of events, the newest first, and how many there are in all."""

    success: bool = True
    data: list[Event]
    total: int
    limit: int
    offset: int


class ChosenStatistics(Parameters):
    """Which time, by which part of it. A date alone is the whole day."""

    start_date: Moment | None = None
    end_date: EndMoment | None = None
    group_by: Literal["day", "week", "month"] = "day"


class Bucket(Answer):
    """A day, or the week or month that begins with it."""

    date: str
    requests: int
    tokens: int
    cost: Dollars


class StatisticsAnswer(Answer):
    """Sums: ``by_day``, or ``by_week`` or ``by_month`` as asked for."""

    success: bool = True
    statistics: dict[str, Any]


@router.post("/activity/log")
async def log(asked: NewEvent, work: Writing, context: ContextOf) -> LoggedAnswer:
    """Keep an event of the caller's."""
    id = await ActivityService(work).log(_new(asked), context.prices)
    return LoggedAnswer(activity_id=id, timestamp=work.now)


@router.get("/activity/history")
async def history(work: Reading, chosen: Annotated[Chosen, Query()]) -> Events:
    """The caller's events; a request through the gateway is an ``api_call``."""
    wanted = filter_of(between(chosen.start_date, chosen.end_date))
    found = await ActivityService(work).history(wanted, chosen.event_type, limit=chosen.limit, offset=chosen.offset)
    data = [_shown(item) for item in found.items]
    return Events(data=data, total=found.total, limit=chosen.limit, offset=chosen.offset)


@router.get("/activity/stats")
async def statistics(work: Reading, chosen: Annotated[ChosenStatistics, Query()]) -> StatisticsAnswer:
    """Sums over the caller's requests."""
    wanted = ActivityService(work).mine(filter_of(between(chosen.start_date, chosen.end_date)))
    reader = Reader(work, "api:read")
    found = await reader.sums(wanted, (), chosen.group_by, NUMBERS)
    by_model = await reader.sums(wanted, ("model",), None, ("requests",))
    requests = sum(item.requests for item in found)
    used = sum(tokens(item) for item in found)
    buckets = [_bucket(item).model_dump() for item in found]
    told = {
        "total_requests": requests,
        "total_tokens": used,
        "total_cost": to_dollars(sum(item.cost_nanos for item in found)),
        "average_tokens_per_request": round(used / requests) if requests else 0,
        "by_model": {item.group[0]: item.requests for item in by_model},
        f"by_{chosen.group_by}": buckets,
    }
    return StatisticsAnswer(statistics=told)


def filter_of(within: Range) -> Filter:
    """The filter of a time."""
    return Filter(from_ns=within.from_ns, until_ns=within.until_ns)


def tokens(sums: Sums) -> int:
    """All tokens."""
    return sums.prompt_tokens + sums.completion_tokens


def _bucket(item: Sums) -> Bucket:
    date = of_seconds(item.start or 0).date().isoformat()
    return Bucket(date=date, requests=item.requests, tokens=tokens(item), cost=item.cost_nanos)


def _new(asked: NewEvent) -> NewActivity:
    data = asked.event_data
    for name, value in (("event_data", data), ("metadata", asked.metadata)):
        if len(json.dumps(value)) > _LARGEST:
            raise invalid(f"{name} must have at most {_LARGEST} bytes.", name)
    prompt, completion = _count(data, "prompt_tokens"), _count(data, "completion_tokens")
    whole = _count(data, "tokens")
    if whole and prompt + completion not in (0, whole):
        raise invalid("event_data.tokens must be prompt_tokens plus completion_tokens.", "event_data.tokens")
    return NewActivity(
        event_type=asked.event_type,
        data=data,
        metadata=asked.metadata,
        model=_name(data, "model"),
        provider=_name(data, "provider"),
        prompt_tokens=prompt if prompt + completion else whole,
        completion_tokens=completion,
        cost_nanos=_cost(data),
    )


def _count(data: dict[str, Any], name: str) -> int:
    value = data.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
        raise invalid(f"event_data.{name} must be a whole number that is not negative.", f"event_data.{name}")
    return value


def _name(data: dict[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is not None and (not isinstance(value, str) or not 1 <= len(value.strip()) <= 200):
        raise invalid(f"event_data.{name} must be a text of 1 to 200 characters.", f"event_data.{name}")
    return value


def _cost(data: dict[str, Any]) -> int | None:
    value = data.get("cost")
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _MOST_DOLLARS:
        raise invalid(f"event_data.cost must be dollars, from 0 to {_MOST_DOLLARS}.", "event_data.cost")
    return to_nanos(value)


def _shown(shown: Shown) -> Event:
    entry = shown.entry
    told = entry.details or {}
    data: dict[str, Any] = {}
    if entry.kind != "activity":
        cost = None if shown.cost_nanos is None else to_dollars(shown.cost_nanos)
        data = {"model": entry.model, "tokens": entry.total_tokens, "cost": cost}
    if "event_type" in told:
        data |= told.get("event_data") or {}
    return Event(
        id=entry.id, event_type=told.get("event_type", CALL), event_data=data, timestamp=of_ns(entry.started_ns)
    )
