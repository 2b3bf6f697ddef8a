"""What handlers that write have in common: a caller who may go on now, and a body."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson

from gateway.dataplane.admission.limiter import Shortage, settle
from gateway.dataplane.endpoints.models import authenticate
from gateway.dataplane.opening import body_too_large
from gateway.dataplane.stored.records import Json
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.dataplane.app import Worker
    from gateway.dataplane.auth import Credential


async def counted(worker: Worker, request: Request) -> Credential:
    """The caller, whose limits on requests this one is counted against. Raises :class:`GatewayError`."""
    caller = await authenticate(worker, request)
    runtime = worker.runtime
    counters = caller.limiter.for_requests(runtime.shared)
    if counters.all:
        try:
            grant = counters.admit(0, 0, time.time())
        except Shortage as shortage:
            assert runtime.lender is not None
            grant = await runtime.lender.admit(shortage)
        settle(grant, 0, 0)
    return caller


async def json_body(worker: Worker, request: Request) -> Json:
    """The body, an object. Raises :class:`GatewayError`."""
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > worker.max_body_bytes:
            raise body_too_large(worker)
    try:
        body: Any = orjson.loads(bytes(data) or b"{}")
    except orjson.JSONDecodeError as error:
        message = f"The body is not valid JSON: {error.msg}."
        raise GatewayError(Kind.INVALID, "invalid_json", message) from None
    if not isinstance(body, dict):
        raise GatewayError(Kind.INVALID, "invalid_json", "The body must be a JSON object.")
    return body
