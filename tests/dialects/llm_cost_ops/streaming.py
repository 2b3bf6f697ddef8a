"""Clients of ``/v1/stream``: a real server on a socket of its own, the real client, and what they say to each other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed

from gateway.settings.model import Settings
from gateway.sidecar.serve import server_config
from gateway.sidecar.sockets import UnixListener
from tests.dialects.conftest import Api
from tests.dialects.llm_cost_ops.ledger import PRICE

WAIT = 30.0


class Served:
    """A sidecar's application behind a Unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = AsyncExitStack()

    async def connect(self, secret: str | None, *, query: bool = False, **more: Any) -> ClientConnection:
        """A client, its credential in the header or in the query."""
        headers = {} if secret is None or query else {"authorization": f"Bearer {secret}"}
        path = "/v1/stream" + (f"?token={secret}" if query else "")
        client = unix_connect(
            str(self.path), f"ws://gateway{path}", additional_headers=headers, open_timeout=60, **more
        )
        return await self._stack.enter_async_context(client)

    async def listen(self, secret: str, *channels: str) -> ClientConnection:
        """A client that has subscribed."""
        client = await self.connect(secret)
        assert (await say(client, action="subscribe", channels=list(channels)))["action"] == "subscribed"
        return client


@asynccontextmanager
async def serving(app: FastAPI, path: Path) -> AsyncIterator[Served]:
    """The application on a socket, for the time of the block."""
    config = server_config(app, Settings())
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    listener = UnixListener(str(path))
    await server.startup(sockets=[listener.socket])
    running = asyncio.create_task(server.main_loop())
    served = Served(path)
    try:
        yield served
    finally:
        server.should_exit = True
        await running
        await server.shutdown(sockets=[listener.socket])
        await served._stack.aclose()
        listener.close()


async def hear(client: ClientConnection) -> dict[str, Any]:
    """The next message."""
    found: dict[str, Any] = json.loads(await asyncio.wait_for(client.recv(), WAIT))
    return found


async def say(client: ClientConnection, **message: Any) -> dict[str, Any]:
    """What a message is answered with."""
    await client.send(json.dumps(message))
    return await hear(client)


async def closed(client: ClientConnection) -> tuple[int, str]:
    """The code and reason a connection is closed with; what comes before is read."""
    while True:
        try:
            await asyncio.wait_for(client.recv(), WAIT)
        except ConnectionClosed as error:
            return (0, "") if error.rcvd is None else (error.rcvd.code, error.rcvd.reason)


async def report(api: Api, organization: str, model: str = "gpt-4", provider: str = "openai", **more: Any) -> str:
    """Report usage with the master key; gives its id."""
    record = {"organization_id": organization, "provider": provider, "model_id": model, "input_tokens": 1000,
              "output_tokens": 500, "total_tokens": 1500, **more}  # fmt: skip
    made = await api.master.post("/api/v1/usage", json=record)
    assert made.status_code == 201, made.text
    return str(made.json()["data"]["usage_id"])


async def priced(api: Api) -> None:
    for model in ("gpt-4", "other"):
        made = await api.master.post("/api/v1/pricing", json=PRICE | {"provider": "openai", "model_id": model})
        assert made.status_code == 201, made.text
