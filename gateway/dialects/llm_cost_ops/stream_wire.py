"""What is said over ``/v1/stream`` ("WebSocket API"): channels, what a client sends, what it is told."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final, Literal, get_args

from pydantic import Field

from gateway.contract.envelopes.base import timestamp
from gateway.dialects.common.models import Asked
from gateway.dialects.llm_cost_ops.entries import metadata_of, tags_shown
from gateway.dialects.llm_cost_ops.stream_notices import data_of
from gateway.domain.actor import Actor
from gateway.domain.alerts.model import Notice
from gateway.domain.analytics.periods import of_ns
from gateway.domain.fields import invalid
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.live.hub import EVERY, StreamName, Told, Topic
from gateway.domain.organizations import repo as organizations
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.money import to_dollars

MOST_CHANNELS = 100
_PERMISSIONS: Final[dict[StreamName, str]] = {
    "costs": "costs:read",
    "usage": "usage:read",
    "alerts": "budgets:read",
    "forecasts": "forecast:read",
}
_STREAMS: Final[dict[str, StreamName]] = {name: name for name in get_args(StreamName)}
_PATTERNS = (
    "costs:{organization_id}, usage:{organization_id}, usage:{organization_id}:{provider}, "
    "alerts:{organization_id}, forecasts:{organization_id}"
)


class Message(Asked):
    """What a client sends. ``channels`` belong to ``subscribe`` and ``unsubscribe``."""

    action: Literal["subscribe", "unsubscribe", "ping"]
    channels: list[str] = Field(default_factory=list, max_length=MOST_CHANNELS)


async def topic_of(work: Work, channel: str, field: str) -> Topic:
    """The topic of a channel. Raises INVALID, FORBIDDEN, and NOT_FOUND for an organisation there is none of."""
    kind, _, rest = channel.partition(":")
    stream = _STREAMS.get(kind)
    organization, colon, provider = rest, "", ""
    if stream == "usage":
        organization, colon, provider = rest.partition(":")
    if stream is None or not organization or (colon and not provider) or len(channel) > 400:
        raise invalid(f"{field} must be one of: {_PATTERNS}.", field, "invalid_channel")
    work.actor.require(_PERMISSIONS[stream])
    organization = await _organization(work, organization)
    return Topic(stream, organization, provider or None)


async def _organization(work: Work, reference: str) -> str:
    if reference == EVERY:
        work.actor.require_platform()
        return EVERY
    if work.actor.is_platform_admin:
        return (await OrganizationService(work).get(reference)).id
    if await organizations.id_of(work.session, reference) != work.actor.organization:
        message = "This is another organization's."
        raise GatewayError(Kind.FORBIDDEN, "insufficient_permissions", message, "organization_id")
    return work.actor.organization


def may_listen(actor: Actor, topic: Topic) -> None:
    """Raise FORBIDDEN where the actor may not, or no more, be told of a topic."""
    if topic.organization == EVERY:
        actor.require_platform()
    actor.require(_PERMISSIONS[topic.stream], None if topic.organization == EVERY else topic.organization)


def channel_of(topic: Topic) -> str:
    """The channel's name, with the organisation's id."""
    return ":".join(part for part in topic if part is not None)


def event_of(topic: Topic, told: Told) -> str:
    """An entry or a notice as the listeners of its channel are told."""
    if isinstance(told, Notice):
        return _event(topic, told.event, told.at_ns, data_of(told))
    if topic.stream == "costs":
        return _event(topic, "cost.calculated", told.recorded_ns, _cost(told))
    return _event(topic, "usage.submitted", told.recorded_ns, _usage(told))


def _event(topic: Topic, event: str, at_ns: int, data: dict[str, Any]) -> str:
    return written({"channel": channel_of(topic), "event": event, "timestamp": timestamp(of_ns(at_ns)), "data": data})


def _common(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "usage_id": entry.id,
        "organization_id": entry.organization,
        "provider": entry.provider,
        "model_id": entry.model,
        "total_cost": None if entry.cost_nanos is None else to_dollars(entry.cost_nanos),
        "currency": "USD",
        "total_tokens": entry.total_tokens,
    }


def _cost(entry: LedgerEntry) -> dict[str, Any]:
    return _common(entry) | {"kind": entry.kind, "corrects": entry.corrects}


def _usage(entry: LedgerEntry) -> dict[str, Any]:
    return _common(entry) | {
        "timestamp": timestamp(of_ns(entry.started_ns)),
        "input_tokens": entry.prompt_tokens,
        "output_tokens": entry.completion_tokens,
        "cached_tokens": entry.cached_tokens,
        "reasoning_tokens": entry.reasoning_tokens,
        "tags": tags_shown(entry.tags),
        "metadata": metadata_of(entry),
    }


def acted(action: str, now: datetime, **more: Any) -> str:
    """What a client is told that is no event: ``pong``, ``subscribed``, ``unsubscribed``, ``missed``."""
    return written({"action": action, **more, "timestamp": timestamp(now)})


def written(message: dict[str, Any]) -> str:
    """A message as it is sent. ASCII alone: names may hold anything."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False)
