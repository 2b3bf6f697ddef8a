"""uvicorn's WebSocket protocol, with an end for peers that have stopped reading: to them no close can be told."""

from __future__ import annotations

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.sidecar.websocket import FLUSH


class Protocol(WebSocketsSansIOProtocol):
    """As uvicorn has it, but no connection outlives its handler for longer than :data:`FLUSH`."""

    def keepalive_timeout(self) -> None:
        """A ping went unanswered: say so, and go."""
        super().keepalive_timeout()
        # Its handler may wait for room to send, which there will not be.
        self.loop.call_later(FLUSH, self.transport.abort)

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the handler says."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # refused; else it is logged as if the handler had left it open

    async def run_asgi(self) -> None:
        """Serve the connection."""
        await super().run_asgi()
        # After a close of ours the peer has some seconds to answer it.
        self.loop.call_later(FLUSH if self.close_timer is None else FLUSH + self.close_timeout, self.transport.abort)
