"""What handlers find in the application, and where a request came from."""

from __future__ import annotations

import hmac
import re
from typing import Annotated, Protocol, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from gateway.contract.internal import FORWARDED, forwarded_token
from gateway.domain.alerts.service import Notices
from gateway.domain.authentication.principal import Origin
from gateway.domain.authentication.service import Authenticator
from gateway.domain.authentication.sessions import Sessions
from gateway.domain.catalogue.service import KnownModels
from gateway.domain.live.hub import Hub
from gateway.domain.pricing.book import PriceBook
from gateway.domain.tokens.service import Tokens
from gateway.domain.usage.counters import Counters
from gateway.domain.work import Works
from gateway.kernel.ids import new_id
from gateway.settings.model import Settings

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}\Z")
_LONGEST_AGENT = 500


class Context(Protocol):
    """The parts of a running sidecar that handlers use: ``app.state.context``. ``started`` is ``time.monotonic()``.
    ``prices`` rate usage that callers report; ``models`` is what is known of models; ``live`` tells listeners what is
    entered into the ledger and noticed, ``notices`` is who notices it."""

    settings: Settings
    master_key: str
    works: Works
    authenticator: Authenticator
    tokens: Tokens
    sessions: Sessions
    counters: Counters
    prices: PriceBook
    live: Hub
    notices: Notices
    models: KnownModels
    started: float


def context_of(connection: HTTPConnection) -> Context:
    """The parts, from a request or a WebSocket."""
    return cast(Context, connection.app.state.context)


async def _found(connection: HTTPConnection) -> Context:
    return context_of(connection)  # what is no coroutine, FastAPI runs in a thread


ContextOf = Annotated[Context, Depends(_found)]


def is_forwarded(connection: HTTPConnection) -> bool:
    """Whether the peer is this gateway's data plane: it comes over the Unix socket, or knows the token of one."""
    if connection.scope.get("client") is None:
        return True
    given = connection.headers.get(FORWARDED, "").encode()
    return bool(given) and hmac.compare_digest(given, forwarded_token(context_of(connection).master_key).encode())


def origin_of(connection: HTTPConnection) -> Origin:
    """Address, user agent and id of a request; the same each time it is asked for one request.

    The data plane puts the address of its peer last in ``X-Forwarded-For``. From anybody else that header and
    ``X-Request-Id`` are what the caller likes them to be, and are not looked at.
    """
    known = connection.scope.get("gateway.origin")
    if isinstance(known, Origin):
        return known
    forwarded = is_forwarded(connection)
    client = connection.scope.get("client")
    address = client[0] if client else None
    request_id = connection.headers.get("x-request-id", "")
    if forwarded:
        address = connection.headers.get("x-forwarded-for", "").rpartition(",")[2].strip() or address
    if not forwarded or not _REQUEST_ID.match(request_id):
        request_id = new_id("req")
    agent = connection.headers.get("user-agent")
    origin = Origin(address, None if agent is None else agent[:_LONGEST_AGENT], request_id)
    connection.scope["gateway.origin"] = origin
    return origin
