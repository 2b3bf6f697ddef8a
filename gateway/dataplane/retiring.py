"""The end of a worker: no connection is closed in use, and every client is told with its last answer.

A worker whose place another has taken accepts no connection any more; requests that still come over those that are open
are served. One that has to end (SIGTERM) refuses them. Both answer with ``Connection: close``, so only connections that
have been idle for a while are closed without that. RFC 9112, section 9.6, tells why one that is closed while a request
is on its way loses that request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.dataplane.server import GatewayProtocol

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.worker import _Server

IDLE = 5.0  # seconds after which an unused connection is closed
LINGER = 1.0  # the same in a worker that has to end, where nobody is served any more
LOOK = 0.05  # seconds
_INCOMPLETE = 60.0  # seconds a client may take to send one request

logger = logging.getLogger("gateway.worker")


async def retire(server: _Server, worker: Worker, release: Callable[[], None], drain: float) -> float:
    """Serve what comes over open connections until none is left, for ``drain`` seconds at most; gives those left.

    ``release`` is called when nothing is accepted any more: from then on the next worker may.
    """
    until = worker.loop.time() + drain
    _close_listeners(server)
    release()
    connections = server.server_state.connections
    logger.info("another worker takes over", extra={"connections": len(connections)})
    while (connections or worker.forward.tunnels) and worker.loop.time() < until and not worker.draining:
        await _look(server, IDLE)
    return max(0.0, until - worker.loop.time())


async def linger(server: _Server, worker: Worker, drain: float) -> None:
    """Let what is under way end, for ``drain`` seconds at most, and refuse what comes over open connections.

    An answer that had begun by now can't tell that its connection ends, so that one stays open behind it for a while.
    """
    until = worker.loop.time() + drain
    _close_listeners(server)
    while _is_any_needed(server, worker.loop.time()) and worker.loop.time() < until:
        await _look(server, LINGER)


def _close_listeners(server: _Server) -> None:
    for each in server.servers:
        each.close()
    for connection in tuple(server.server_state.connections):
        if isinstance(connection, GatewayProtocol):
            connection.retire()


async def _look(server: _Server, idle: float) -> None:
    server.upkeep()
    now = asyncio.get_running_loop().time()
    for connection in tuple(server.server_state.connections):
        if isinstance(connection, GatewayProtocol):
            connection.sweep(now, idle, _INCOMPLETE)
    await asyncio.sleep(LOOK)


def _is_any_needed(server: _Server, now: float) -> bool:
    return any(
        not isinstance(connection, GatewayProtocol) or not _is_stuck(connection, now)
        for connection in server.server_state.connections
    )


def _is_stuck(connection: GatewayProtocol, now: float) -> bool:
    """Whether its client has begun a request and has not gone on with its head for a while."""
    between = connection.cycle is None or connection.cycle.response_complete
    reader = connection.reader
    return between and reader is not None and reader.in_head and now - connection.busy_since > LINGER
