"""Client connections that do nothing, or too little, for too long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.dataplane.exchange import Exchange
from gateway.dataplane.receiving import refuse
from gateway.dataplane.sockets import has_left
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.dataplane.server import GatewayProtocol

LONGEST_BODY = 600.0  # seconds a body may take that keeps coming


def sweep(client: GatewayProtocol, now: float, idle: float, incomplete: float) -> None:
    """Close what has been idle, or has been sending one request, for too long. Called about once a second."""
    if client.linger_until:
        if now > client.linger_until:
            client.transport.abort()
        return
    if not client.transport.is_reading() and has_left(client.transport):
        client.transport.abort()  # the end of the connection is not told to who doesn't read
        return
    cycle = client.cycle
    age = now - client.busy_since
    if client.transport.is_closing() and age > idle:
        client.transport.abort()  # what it was to send first is not being read
        return
    if cycle is None or cycle.response_complete:
        if age > (incomplete if client.reader.in_head else idle):
            client.flush()
            client.transport.close()
    elif (
        type(cycle) is Exchange
        and not cycle.complete
        and cycle.flow is None
        and cycle.turn
        and (age > incomplete or time.perf_counter() - cycle.started > LONGEST_BODY)
    ):
        error = GatewayError(Kind.INVALID, "request_timeout", "The request's body did not arrive in time.")
        refuse(client, cycle, error)
