"""What of a request goes on to the sidecar, and what comes back: heads, paths and failures."""

from __future__ import annotations

import logging
import posixpath
from typing import NamedTuple

from gateway.contract.owners import Reference, owner_of
from gateway.dataplane.upstream.errors import QUEUED, UpstreamError
from gateway.kernel.errors import GatewayError, Kind

logger = logging.getLogger("gateway.forward")

Headers = list[tuple[bytes, bytes]]

# RFC 9110 §7.6.1, and what is older than it.
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_SET_BY_US = frozenset((b"content-length", b"expect", b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id"))
_OURS = b"x-gateway-"  # names that mean something between our processes: nobody outside may say them
_ANSWERED_BY_US = frozenset((b"server", b"x-request-id"))
_CREDENTIALS = frozenset((b"authorization", b"x-api-key", b"api-key"))
_UNREACHED = frozenset(("dns", "connect", "connect_timeout", "tls", "proxy", *QUEUED))
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))  # may be sent twice (RFC 9110 §9.2.1)
RETRY_AFTER = 2.0  # seconds in which a sidecar that has ended is started again


class Asked(NamedTuple):
    """A request for a path that is not the data plane's.

    ``path`` is decoded and without the query, ``target`` is both as they came; header names are in lower case.
    ``client`` is the peer's address, empty on a Unix socket.
    """

    method: str
    path: str
    target: bytes
    headers: Headers
    client: str
    scheme: str
    request_id: str
    owner: Reference


def asked(method: str, path: str, target: bytes, headers: Headers, client: str, scheme: str, request_id: str) -> Asked:
    """A request, its owner found by path and kind of credential."""
    app = any(name in _CREDENTIALS and is_app(value) for name, value in headers)
    return Asked(method, path, target, headers, client, scheme, request_id, owner_of(method, path, app=app))


def is_app(value: bytes) -> bool:
    """Whether a header's value is the credential of an app: ``app_…:sk_…``, a bearer token or plain."""
    scheme, _, rest = value.partition(b" ")
    secret = rest.strip() if scheme.lower() == b"bearer" else value.strip()
    return secret.startswith(b"app_") and b":sk_" in secret


def is_internal(path: str) -> bool:
    """Whether a decoded path may mean the sidecar's internal API, by any spelling that a server might normalise."""
    normal = posixpath.normpath("/" + path.replace("\\", "/")).lstrip("/").casefold()
    return normal == "internal" or normal.startswith(("internal/", "internal;"))


def request_head(request: Asked, prefix: str, *more: bytes) -> bytes:
    """The head to send on, ``Host`` as the client gave it; ``more`` are header lines without their ends."""
    dropped = _HOP_BY_HOP | _SET_BY_US | _named(request.headers)
    lines = [b"%b %b%b HTTP/1.1" % (request.method.encode(), prefix.encode(), request.target)]
    through: list[bytes] = []
    host = b"host: localhost"  # of clients that speak HTTP/1.0
    for name, value in request.headers:
        if name == b"host":
            host = b"host: " + value
        elif name == b"x-forwarded-for":
            through.append(value)
        elif name not in dropped and not name.startswith(_OURS):
            lines.append(b"%b: %b" % (name, value))
    if request.client:
        through.append(request.client.encode("latin-1", "replace"))
    if through:
        lines.append(b"x-forwarded-for: " + b", ".join(through))
    lines += (b"x-forwarded-proto: " + request.scheme.encode(), b"x-request-id: " + request.request_id.encode())
    return b"\r\n".join((lines[0], host, *lines[1:], *more, b"", b""))


def answer_headers(status: int, headers: Headers, extra: Headers) -> Headers:
    """The sidecar's headers as they go to the client; ``extra`` replaces those of the same name."""
    dropped = _HOP_BY_HOP | _ANSWERED_BY_US | _named(headers) | {name for name, _ in extra}
    if status in (204, 304):
        dropped |= {b"content-length"}  # of the body that is not there
    return [(name, value) for name, value in headers if name not in dropped] + extra


def _named(headers: Headers) -> set[bytes]:
    """The headers that ``Connection`` names as meant for this hop alone."""
    return {
        token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")
    } - {b"host"}


def no_such_path(request: Asked) -> GatewayError:
    """The error for a path that nobody serves."""
    message = f"Unknown request URL: {request.method} {request.path[:200]}. See /v1/models, /v1/chat/completions."
    return GatewayError(Kind.NOT_FOUND, "unknown_url" if request.owner == "openai" else "not_found", message)


def failure(error: UpstreamError, request: Asked) -> GatewayError:
    """What a client is told of a sidecar that could not be asked, or did not answer; the log is told why."""
    logger.warning(
        "not forwarded", extra={"request_id": request.request_id, "reason": error.reason, "detail": error.message}
    )
    if error.reason in _UNREACHED or (error.reason == "reset" and request.method in SAFE):
        message = "This part of the gateway is not available just now. Inference is not affected."
        return GatewayError(Kind.UNAVAILABLE, "service_unavailable", message, retry_after=RETRY_AFTER)
    if error.is_timeout:
        return GatewayError(Kind.TIMEOUT, "timeout", "This part of the gateway did not answer in time.")
    message = "This part of the gateway ended before it answered. The request may have been carried out."
    return GatewayError(Kind.UPSTREAM, "upstream_error", message)
