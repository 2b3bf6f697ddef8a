"""WebSocket connections of the sidecar. What they are made of is loaded with the first of them."""

from __future__ import annotations

import asyncio
from typing import Any

LARGEST_MESSAGE = 65_536  # bytes, of a client's
FLUSH = 5.0  # seconds a client that does not read gets for what was sent to it before its connection is dropped


def websocket(**parts: Any) -> asyncio.Protocol:
    """A connection that offers WebSocket, as uvicorn makes its protocols."""
    # A gateway that nobody listens to does without a megabyte of library.
    from gateway.sidecar.websocket_protocol import Protocol  # noqa: PLC0415

    return Protocol(**parts)
