"""Peers that have stopped reading, or never answer: their connections end all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gateway.sidecar import websocket, websocket_protocol

WAIT = 30.0
OFFER = (
    b"GET /v1/stream HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Talker:
    """An application that agrees, says ``messages`` and then waits for the client."""

    def __init__(self, messages: int, *, stay: bool = True) -> None:
        self.messages = messages
        self.stay = stay
        self.over = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            for _ in range(self.messages):
                await send({"type": "websocket.send", "text": "x" * 100_000})
            while self.stay and (await receive())["type"] != "websocket.disconnect":
                pass
        finally:
            self.over.set()


@asynccontextmanager
async def offered(
    app: Any, path: Path, ping: float | None = 0.1
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client of the application that offered WebSocket and does nothing more."""
    config = uvicorn.Config(
        app, loop="none", http="httptools", lifespan="off", log_config=None, uds=str(path),
        ws=cast("type[asyncio.Protocol]", websocket.websocket), ws_ping_interval=ping, ws_ping_timeout=ping,
    )  # fmt: skip
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        writer.write(OFFER)
        yield reader, writer
        assert not server.server_state.connections
    finally:
        writer.transport.abort()
        await server.shutdown()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_protocol, "FLUSH", 0.1)


async def test_a_client_that_answers_no_ping_is_told_and_dropped(tmp_path: Path) -> None:
    app = Talker(0)
    async with offered(app, tmp_path / "s") as (reader, writer):
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        told = await asyncio.wait_for(reader.read(-1), WAIT)
        await asyncio.wait_for(app.over.wait(), WAIT)
    assert told.endswith(b"\x88\x18\x03\xf3keepalive ping timeout")


async def test_a_client_that_reads_nothing_is_dropped(tmp_path: Path) -> None:
    app = Talker(1_000)
    async with offered(app, tmp_path / "s"):
        await asyncio.wait_for(app.over.wait(), WAIT)  # its handler does not wait for room for ever
        await asyncio.sleep(0)


async def test_a_handler_that_is_done_leaves_no_connection_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Talker(3, stay=False)  # more than the socket takes, and not so much that it waits for room
    gone = asyncio.Event()
    lost = websocket_protocol.Protocol.connection_lost

    def connection_lost(self: Any, error: Exception | None) -> None:
        lost(self, error)
        gone.set()

    monkeypatch.setattr(websocket_protocol.Protocol, "connection_lost", connection_lost)
    async with offered(app, tmp_path / "s", ping=None):
        await asyncio.wait_for(gone.wait(), WAIT)
