"""Gateways that share accounts and limits, and a provider that counts what reaches it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.gateway import RunningGateway

MASTER = "gw_live_master_of_the_tests"
PATIENCE = 60.0
ONE_TOKEN = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"x","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"a"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)
CHAT = b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":1}'


class Provider:
    """Answers with one token, when it is let go."""

    def __init__(self) -> None:
        self.base_url = ""
        self.seen = 0
        self.go = asyncio.Event()
        self.changed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:")
                await reader.readexactly(length)
                self.seen += 1
                self.changed.set()
                await self.go.wait()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ONE_TOKEN)
                    + ONE_TOKEN
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def counting_provider() -> AsyncIterator[Provider]:
    """A provider for the duration of the block."""
    provider = Provider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0, backlog=2000)
    provider.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield provider
    finally:
        server.close()


def config(provider: Provider, directory: Path, **more: Any) -> dict[str, Any]:
    """One model ``m``, whose answers cost a dollar a token and whose prompts are free."""
    server = {"host": "127.0.0.1", "port": 0, "drain": 5.0, **more.pop("server", {})}
    return {
        "server": server,
        "master_key": MASTER,
        "data_dir": str(directory),
        "providers": [{"name": "up", "base_url": provider.base_url, "connections": {"max": 2000}}],
        "models": [{"name": "m", "targets": [{"provider": "up", "model": "x"}]}],
        "pricing": [{"provider": "up", "model": "x", "input_per_1k": 0.0, "output_per_1k": 1000.0}],
        **more,
    }


async def sidecar_answers(gateway: RunningGateway) -> None:
    """Wait until the gateway's sidecar is up."""
    deadline = time.monotonic() + PATIENCE
    headers = {"authorization": f"Bearer {MASTER}"}
    async with httpx.AsyncClient(base_url=gateway.root, headers=headers, timeout=PATIENCE) as client:
        while (answer := await client.get("/plans")).status_code != 200:
            assert time.monotonic() < deadline, (answer.status_code, answer.text, gateway.log())
            await asyncio.sleep(0.05)


async def as_master(gateway: RunningGateway, method: str, path: str, **body: Any) -> dict[str, Any]:
    """Call the admin API with the master key."""
    async with httpx.AsyncClient(base_url=gateway.root, headers={"authorization": f"Bearer {MASTER}"}) as client:
        answer = await client.request(method, path, json=body or None, timeout=PATIENCE)
    assert answer.is_success, (path, answer.status_code, answer.text, gateway.log())
    found: dict[str, Any] = answer.json()
    return found


async def chat(gateway: RunningGateway, key: str) -> tuple[int, bytes]:
    """One request on a connection of its own: the status and the whole answer."""
    reader, writer = await asyncio.open_connection(*gateway.address)
    try:
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b" % (key.encode(), len(CHAT), CHAT)
        )
        answer = await reader.read()
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]), answer


async def judged(gateway: RunningGateway, key: str) -> tuple[int, bytes]:
    """As :func:`chat`, asked again while nobody can say: a busy machine's Redis or sidecar may be late."""
    deadline = time.monotonic() + PATIENCE
    while (told := await chat(gateway, key))[0] == 503:
        assert time.monotonic() < deadline, (told, gateway.log())
        await asyncio.sleep(0.05)
    return told
