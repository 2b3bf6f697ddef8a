"""The head of an inference request: an exchange made of it, authenticated, and refused where it can be no request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.dataplane import deadlines
from gateway.dataplane.admitting import accept
from gateway.dataplane.auth import Presented, secret_in
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.upload import Upload
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Recovery

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.endpoints.inference import Endpoint
    from gateway.dataplane.repeating import Repeated
    from gateway.dataplane.server import GatewayProtocol

# Client headers that mean something to an upstream (OpenAI API reference, "Debugging requests"; W3C Trace Context).
_FORWARDED: Final = frozenset(
    (b"openai-beta", b"idempotency-key", b"traceparent", b"tracestate", b"user-agent", b"x-client-request-id")
)
_RECOVERY: Final = b"x-gateway-stream-recovery"
_RECOVERIES: Final[dict[bytes, Recovery]] = {b"continue": "continue", b"restart": "restart", b"error": "error"}
_READ: Final = frozenset(
    (
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"expect",
        deadlines.HEADER,
        _RECOVERY,
    )
)
_JSON_TYPES: Final = (b"application/json", b"")


def open_exchange(
    wire: GatewayProtocol, spec: Endpoint, headers: list[tuple[bytes, bytes]], http11: bool, presented: Presented
) -> Exchange:
    """An exchange for a request whose head has been read; ``refusal`` is set where it must not be served.

    ``presented`` is the connection's.
    """
    worker = wire.worker
    runtime = worker.runtime
    keep_alive = wire.parser.should_keep_alive() and not worker.leaving
    exchange = Exchange(wire, runtime, spec, headers, worker.clock.request_id(), http11, keep_alive)
    runtime.active += 1
    has_secret = False
    authorization: bytes | None = None
    for name, value in headers:
        if name in _READ:
            if name == b"content-length":
                exchange.declared_length = int(value)
            elif name == b"content-type":
                exchange.content_type = value
            elif name == b"expect":
                wire.expect_100_continue = value.lower() == b"100-continue"
            elif name == b"content-encoding":
                exchange.refusal = _encoded(value)
            elif name == _RECOVERY:
                _recover(exchange, value)
            elif name == deadlines.HEADER:
                _want(exchange, value)
            elif name == b"authorization":
                if authorization is None:
                    authorization = value
                has_secret = True
            else:
                has_secret = True
        elif name in _FORWARDED:
            exchange.forwarded += b"%b: %b\r\n" % (name, value)
    _admit(exchange, worker, presented, authorization, has_secret)
    return exchange


def open_again(wire: GatewayProtocol, head: Repeated, presented: Presented) -> Exchange:
    """As :func:`open_exchange`, for a request whose head is known."""
    worker = wire.worker
    runtime = worker.runtime
    exchange = Exchange(wire, runtime, head.spec, head.lines(), worker.clock.request_id(), True, not worker.leaving)
    runtime.active += 1
    exchange.declared_length = head.length
    exchange.content_type = head.content_type
    exchange.forwarded = head.forwarded
    exchange.wanted = head.wanted
    exchange.recovery = head.recovery
    _admit(exchange, worker, presented, head.authorization, head.has_secret)
    return exchange


def _admit(
    exchange: Exchange, worker: Worker, presented: Presented, authorization: bytes | None, has_secret: bool
) -> None:
    credentials = exchange.runtime.credentials
    try:
        if authorization and presented.is_again(authorization):
            caller = credentials.behind(presented.digest, presented.secret)
        else:
            secret = secret_in(exchange.raw_headers) if has_secret else None
            caller = credentials.find(secret)
            if authorization and secret and caller is not None:
                presented.remember(authorization, secret)
        if caller is not None:
            accept(exchange, caller)
        _check_body_head(exchange, worker)
    except GatewayError as error:
        exchange.refusal = error.with_traceback(None)  # its frames hold the exchange: that would be a cycle


def _check_body_head(exchange: Exchange, worker: Worker) -> None:
    if (exchange.declared_length or 0) > worker.max_body_bytes:
        raise body_too_large(worker)
    if exchange.spec.form:
        exchange.upload = Upload(exchange.content_type.decode("latin-1"))
    elif exchange.content_type not in _JSON_TYPES and b"json" not in exchange.content_type.lower():
        kind = exchange.content_type.decode("latin-1")[:100]
        message = f"Expected Content-Type application/json, got '{kind}'."
        raise GatewayError(Kind.UNSUPPORTED_MEDIA, "unsupported_media_type", message, "Content-Type")
    if worker.draining:
        raise GatewayError(Kind.UNAVAILABLE, "shutting_down", "The gateway is shutting down.", retry_after=1)
    if worker.sink.failing:
        message = "The gateway can't record what is used now, so it begins nothing."
        raise GatewayError(Kind.UNAVAILABLE, "usage_not_recorded", message, retry_after=1)


def body_too_large(worker: Worker) -> GatewayError:
    """The error for a body beyond the configured size."""
    message = f"The body is larger than the {worker.max_body_bytes} bytes allowed."
    return GatewayError(Kind.TOO_LARGE, "request_too_large", message)


def _recover(exchange: Exchange, value: bytes) -> None:
    exchange.recovery = _RECOVERIES.get(value.strip().lower())
    if exchange.recovery is None:
        message = (
            f"'{value[:40].decode('latin-1')}' is no way to recover a stream: expected continue, restart or error."
        )
        exchange.refusal = GatewayError(Kind.INVALID, "invalid_stream_recovery", message, _RECOVERY.decode())


def _want(exchange: Exchange, value: bytes) -> None:
    try:
        exchange.wanted = deadlines.wanted_timeouts(value)
    except GatewayError as error:
        exchange.refusal = error.with_traceback(None)


def _encoded(encoding: bytes) -> GatewayError | None:
    if encoding.strip().lower() in (b"", b"identity"):
        return None
    name = encoding[:40].decode("latin-1")
    message = f"Send the body unencoded, not as '{name}'."
    return GatewayError(Kind.UNSUPPORTED_MEDIA, "unsupported_content_encoding", message)
