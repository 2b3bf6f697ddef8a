"""Errors of the inference paths, in OpenAI's envelope (API reference, "Error codes")."""

from __future__ import annotations

import orjson

from gateway.dataplane.upstream.errors import UpstreamError
from gateway.kernel.errors import GatewayError, Kind

# kind → (HTTP status, the envelope's ``type``)
STATUS: dict[Kind, tuple[int, str]] = {
    Kind.INVALID: (400, "invalid_request_error"),
    Kind.TOO_LARGE: (413, "invalid_request_error"),
    Kind.UNAUTHENTICATED: (401, "authentication_error"),
    Kind.FORBIDDEN: (403, "permission_error"),
    Kind.PAYMENT_REQUIRED: (402, "insufficient_quota"),
    Kind.NOT_FOUND: (404, "invalid_request_error"),
    Kind.METHOD_NOT_ALLOWED: (405, "invalid_request_error"),
    Kind.CONFLICT: (409, "invalid_request_error"),
    Kind.UNSUPPORTED_MEDIA: (415, "invalid_request_error"),
    Kind.RATE_LIMITED: (429, "rate_limit_error"),
    Kind.QUOTA_EXCEEDED: (429, "insufficient_quota"),
    Kind.SUSPENDED: (451, "permission_error"),
    Kind.UPSTREAM: (502, "upstream_error"),
    Kind.UNAVAILABLE: (503, "service_unavailable_error"),
    Kind.TIMEOUT: (504, "timeout_error"),
    Kind.INTERNAL: (500, "server_error"),
}


def status_of(error: GatewayError) -> int:
    """The HTTP status of an error."""
    return STATUS[error.kind][0]


def body_of(error: GatewayError) -> bytes:
    """``{"error": {"message", "type", "param", "code"}}`` as JSON."""
    _, kind = STATUS[error.kind]
    return orjson.dumps({"error": {"message": error.message, "type": kind, "param": error.field, "code": error.code}})


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
    if error.reason in ("queue_full", "queue_timeout"):
        return GatewayError(Kind.UNAVAILABLE, "upstream_busy", message, retry_after=1.0)
    if error.is_timeout:
        return GatewayError(Kind.TIMEOUT, error.reason, message)
    return GatewayError(Kind.UPSTREAM, f"upstream_{error.reason}", message)
