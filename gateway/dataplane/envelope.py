"""Errors as the bytes that are sent: in OpenAI's envelope on the inference paths, in the owner's elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from gateway.contract.envelopes import gatewayz, openai, render
from gateway.contract.envelopes.openai import status_of
from gateway.contract.owners import Reference
from gateway.dataplane.upstream.errors import QUEUED, UpstreamError
from gateway.kernel.errors import GatewayError, Kind

__all__ = ["Told", "body_of", "event_of", "reworded", "status_of", "told", "upstream_failure"]


class Told(NamedTuple):
    """An error ready to send, ``content-type`` among the headers."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def told(error: GatewayError, owner: Reference, request_id: str) -> Told:
    """An error in the envelope of the reference that owns the path."""
    status, body, headers = render(owner, error, request_id=request_id, now=datetime.now(UTC))
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Told(status, [(b"content-type", b"application/json"), *lines], orjson.dumps(body))


def body_of(error: GatewayError) -> bytes:
    """``{"error": {"message", "type", "param", "code"}}`` as JSON."""
    return orjson.dumps(openai.body_of(error))


def reworded(body: bytes, status: int) -> bytes:
    """An upstream's error, which has OpenAI's envelope, in Gatewayz'."""
    error = orjson.loads(body)["error"]
    message = error.get("message") if isinstance(error, dict) else error
    return orjson.dumps(gatewayz.body_of(str(message), status, datetime.now(UTC)))


def event_of(error: GatewayError) -> bytes:
    """The same as a server-sent event, for a stream that has begun."""
    return b"data: " + body_of(error) + b"\n\n"


# Where a provider is, and why it can't be reached, is for the operator's log.
_PUBLIC: dict[str, str] = {
    "dns": "The provider's address does not resolve.",
    "connect": "The provider takes no connection.",
    "connect_timeout": "The provider took no connection in time.",
    "tls": "No secure connection to the provider could be made.",
    "proxy": "The provider could not be reached through its proxy.",
}


def upstream_failure(error: UpstreamError) -> GatewayError:
    """What a client is told of a transport failure that no other target could make good."""
    message = _PUBLIC.get(error.reason, error.message)
    if error.reason == "queue_share":
        return GatewayError(
            Kind.RATE_LIMITED, "organization_share_exceeded", message, retry_after=error.retry_after or 1.0
        )
    if error.reason in QUEUED:
        return GatewayError(Kind.UNAVAILABLE, "upstream_busy", message, retry_after=error.retry_after or 1.0)
    if error.is_timeout:
        return GatewayError(Kind.TIMEOUT, error.reason, message)
    return GatewayError(Kind.UPSTREAM, f"upstream_{error.reason}", message)
