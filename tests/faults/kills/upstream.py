"""A provider that keeps its own count: what each request was, how much of its answer went out, what it would bill.

A request is known by its ``x-client-request-id``, which the gateway passes on. The model name picks the behaviour:

==========  ===========================================================================
steady      answers, plain or streamed, and tells its usage
mute        streams and tells no usage
flaky       fails with 500 or breaks off in its head at a request's first attempt, answers the second
down        answers 503
picky       answers 400
cutting     streams and breaks off with a reset, before any usage
==========  ===========================================================================
"""

from __future__ import annotations

import asyncio
import random

import orjson
from msgspec import Struct

from tests.support.raw_upstream import DONE, LAST_CHUNK, STREAM_HEAD, Peer, answer, chunk, delta

MODELS = ("steady", "mute", "flaky", "down", "picky", "cutting")
WORD = " word"
LONGEST_PAUSE = 0.01  # seconds between two events


class Served(Struct):
    """One attempt as the provider counts it. ``completion`` is what has been sent, ``told`` whether its usage was."""

    model: str
    prompt: int
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    told: bool = False
    failed: bool = False


class Counting:
    """The provider's books: every attempt of every request, by the request's nonce."""

    def __init__(self, seed: int) -> None:
        self.served: dict[str, list[Served]] = {}
        self._seed = seed

    async def serve(self, peer: Peer) -> None:
        """Serve one connection, see :func:`tests.support.raw_upstream.raw_upstream`."""
        while True:
            request = await peer.request()
            body = orjson.loads(request.body)
            await self._answer(peer, request.headers["x-client-request-id"], body)

    def last(self, nonce: str) -> Served | None:
        """The attempt that a request ended with; None where none got here."""
        served = self.served.get(nonce)
        return served[-1] if served else None

    async def _answer(self, peer: Peer, nonce: str, body: dict[str, object]) -> None:
        chance = random.Random(f"{self._seed} {nonce}")
        attempts = self.served.setdefault(nonce, [])
        prompt = chance.randrange(20, 4_000)
        served = Served(str(body["model"]), prompt, chance.choice((0, prompt // 3)))
        attempts.append(served)
        words = chance.randrange(1, 30)
        fails = {"flaky": len(attempts) == 1, "down": True, "picky": True}
        if fails.get(served.model):
            served.failed, served.prompt, served.cached = True, 0, 0
            await self._fail(peer, served.model, chance)
        elif body.get("stream"):
            await self._stream(peer, served, words, chance)
        else:
            await asyncio.sleep(chance.uniform(0, LONGEST_PAUSE * 4))
            served.completion, served.reasoning, served.told = words, words // 4, True
            choice = {"index": 0, "message": {"role": "assistant", "content": WORD * words}, "finish_reason": "stop"}
            whole = {"id": nonce, "object": "chat.completion", "choices": [choice], "usage": usage(served)}
            await peer.send(answer(orjson.dumps(whole)))

    async def _fail(self, peer: Peer, model: str, chance: random.Random) -> None:
        if model == "flaky" and chance.random() < 0.5:
            # Not without a byte: on a connection that was used before, that would pass for one that had gone stale.
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-")
            peer.close(reset=True)
            raise ConnectionResetError
        status = {
            "flaky": b"500 Internal Server Error",
            "down": b"503 Service Unavailable",
            "picky": b"400 Bad Request",
        }
        error = {"error": {"message": "no", "type": "server_error", "param": None, "code": None}}
        await peer.send(answer(orjson.dumps(error), status=status[model]))

    async def _stream(self, peer: Peer, served: Served, words: int, chance: random.Random) -> None:
        await peer.send(STREAM_HEAD)
        until = chance.randrange(words) if served.model == "cutting" else words
        for _ in range(until):
            # Counted first: of what the gateway has read nothing may be missing here.
            served.completion += 1
            await peer.send(chunk(delta(WORD)))
            await asyncio.sleep(chance.uniform(0, LONGEST_PAUSE))
        if served.model == "cutting":
            peer.close(reset=True)
            raise ConnectionResetError
        end = [delta("", "stop")]
        if served.model != "mute":
            served.reasoning, served.told = words // 4, True
            end.append(b"data: " + orjson.dumps({"id": "c", "choices": [], "usage": usage(served)}) + b"\n\n")
        end.append(DONE)
        if chance.random() < 0.5:  # at once, or event by event
            end = [b"".join(end)]
        for event in end:
            await peer.send(chunk(event))
            await asyncio.sleep(0)
        await peer.send(LAST_CHUNK)


def usage(served: Served) -> dict[str, object]:
    """The ``usage`` object of OpenAI's API."""
    return {
        "prompt_tokens": served.prompt,
        "completion_tokens": served.completion,
        "total_tokens": served.prompt + served.completion,
        "prompt_tokens_details": {"cached_tokens": served.cached},
        "completion_tokens_details": {"reasoning_tokens": served.reasoning},
    }
