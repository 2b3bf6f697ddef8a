"""Clients that ask all the time, one after the other: plain, streamed, gone at a random moment, failed at the provider.

Each request has a nonce, which the provider gets as ``x-client-request-id`` and the ledger as a tag.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import orjson
from msgspec import Struct

KEY = "gw_live_kills_0123456789"
CALLERS = 8
PATIENCE = 30.0  # seconds a client waits
REFUSED = 0.1  # seconds before a client that nobody answers asks again
LONGEST = 0.25  # seconds after which a client leaves that is to leave

# way: model, streamed, how often among all
WAYS: dict[str, tuple[str, bool, int]] = {
    "plain": ("good", False, 5),
    "streamed": ("good", True, 5),
    "left plain": ("good", False, 1),
    "left stream": ("good", True, 3),
    "retried": ("again", False, 1),
    "retried stream": ("again", True, 1),
    "fell back": ("spare", True, 1),
    "failed": ("bad", False, 1),
    "mute": ("mute", True, 1),
    "cut": ("cut", True, 1),
}


class Asked(Struct):
    """One request and what its client was told. It ``began`` and ``ended`` for its client at these moments of the
    monotonic clock, in seconds; ``left`` is whether the client went away before it was answered.

    ``complete`` is whether the whole answer came: all of a body, or a stream's ``[DONE]``. ``tried`` is whether the
    gateway said that it had asked the provider.
    """

    nonce: str
    way: str
    id: str | None = None
    status: int | None = None
    complete: bool = False
    tried: bool = False
    usage: dict[str, Any] | None = None
    began: float = 0.0
    ended: float = 0.0
    left: bool = False

    @property
    def answered(self) -> bool:
        """Whether the client has an answer that the ledger must know of."""
        return self.complete and self.tried


class Traffic:
    """The clients. ``roots`` gives the addresses of the gateways that are up, each time; ``ways`` is how they ask."""

    def __init__(self, roots: Callable[[], Sequence[str]], seed: int) -> None:
        self.asked: dict[str, Asked] = {}
        self.stopped = False
        self.ways: Sequence[str] = tuple(WAYS)
        self._roots = roots
        self._seed = seed

    async def run(self) -> None:
        """Ask until :attr:`stopped`."""
        limits = httpx.Limits(max_keepalive_connections=CALLERS)
        async with httpx.AsyncClient(timeout=PATIENCE, limits=limits) as client:
            await asyncio.gather(*(self._ask_on(client, caller) for caller in range(CALLERS)))

    async def _ask_on(self, client: httpx.AsyncClient, caller: int) -> None:
        chance = random.Random(f"{self._seed} caller {caller}")
        weights = [WAYS[way][2] for way in self.ways]
        number = 0
        while not self.stopped:
            number += 1
            way = chance.choices(self.ways, weights)[0]
            asked = Asked(f"n{caller}-{number}", way, began=time.monotonic())
            self.asked[asked.nonce] = asked
            leaves_after = chance.uniform(0, LONGEST) if asked.way.startswith("left") else PATIENCE
            roots = self._roots()
            try:
                if roots:
                    async with asyncio.timeout(leaves_after):
                        await self._ask(client, chance.choice(roots), asked, chance)
            except TimeoutError:
                assert asked.way.startswith("left"), f"no end of the answer to {asked}"
                asked.left = True
            except httpx.TransportError:
                pass  # who was killed answers nobody: that is what this is about
            asked.ended = time.monotonic()
            if asked.status is None or not roots:
                await asyncio.sleep(REFUSED)

    async def _ask(self, client: httpx.AsyncClient, root: str, asked: Asked, chance: random.Random) -> None:
        model, streamed, _ = WAYS[asked.way]
        body: dict[str, Any] = {
            "model": model,
            "stream": streamed,
            "messages": [{"role": "user", "content": " ".join(["word"] * chance.randrange(1, 40))}],
        }
        if streamed and chance.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
        headers = {
            "authorization": f"Bearer {KEY}",
            "x-client-request-id": asked.nonce,
            "x-gateway-tags": f"nonce={asked.nonce}",
        }
        async with client.stream("POST", f"{root}/v1/chat/completions", json=body, headers=headers) as answer:
            asked.id, asked.status = answer.headers.get("x-request-id"), answer.status_code
            asked.tried = "x-gateway-attempts" in answer.headers
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                await _read_events(answer, asked)
            else:
                whole = orjson.loads(await answer.aread())
                asked.complete, asked.usage = True, whole.get("usage")


async def _read_events(answer: httpx.Response, asked: Asked) -> None:
    async for line in answer.aiter_lines():
        if line == "data: [DONE]":
            # A client need not wait for what follows: this is the end of the answer.
            asked.complete = True
        elif line.startswith("data: "):
            asked.usage = orjson.loads(line[6:]).get("usage") or asked.usage
