"""Clients that ask without a pause, each over a connection that it keeps, and remember what they were told."""

from __future__ import annotations

import asyncio
from types import TracebackType

import httpx
from msgspec import Struct

from tests.faults.upstream.call import TEXT
from tests.support.gateway import RunningGateway

PATIENCE = 60.0


class Told(Struct):
    """What a client was told of one request; ``whole`` is whether that is the whole answer."""

    id: str
    status: int
    whole: bool
    closed: bool
    """Whether the answer said that the connection ends behind it."""


class Load:
    """``clients`` clients, every other one streams. Whatever goes wrong is raised at the end of the block."""

    def __init__(self, gateway: RunningGateway, clients: int = 6) -> None:
        self.told: list[Told] = []
        self._gateway = gateway
        self._clients = clients
        self._stopped = False
        self._more = asyncio.Event()

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._ask_on(number % 2 == 0)) for number in range(self._clients)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self._tasks)

    async def answered(self, count: int) -> None:
        """Wait for so many further answers."""
        wanted = len(self.told) + count
        async with asyncio.timeout(PATIENCE):
            while len(self.told) < wanted:
                failed = [task for task in self._tasks if task.done()]
                if failed:
                    await failed[0]
                self._more.clear()
                await self._more.wait()

    async def _ask_on(self, streamed: bool) -> None:
        headers = {"authorization": f"Bearer {self._gateway.key}"}
        body = {"model": "m", "stream": streamed, "messages": [{"role": "user", "content": "Tell it."}]}
        try:
            async with httpx.AsyncClient(base_url=self._gateway.root, headers=headers, timeout=PATIENCE) as client:
                while not self._stopped:
                    self.told.append(_told(await client.post("/v1/chat/completions", json=body), streamed))
                    self._more.set()
        finally:
            self._more.set()


def _told(answer: httpx.Response, streamed: bool) -> Told:
    if streamed:
        words = "".join(
            choice["delta"].get("content") or ""
            for line in answer.text.split("\n\n")
            if line.startswith("data: {")
            for choice in httpx.Response(200, content=line[6:]).json().get("choices", ())
        )
        whole = words == TEXT and answer.text.endswith("data: [DONE]\n\n")
    else:
        whole = answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"] == TEXT
    closed = answer.headers.get("connection") == "close"
    return Told(answer.headers["x-request-id"], answer.status_code, whole, closed)
