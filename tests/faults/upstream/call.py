"""One request as the provider sees it, and what it may say to it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from tests.support.raw_upstream import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    WAIT,
    Peer,
    Received,
    answer,
    chunk,
    delta,
    usage_event,
)

TEXT = "Seven ships sailed past the old lighthouse before the dawn broke."
"""The whole answer. A stream gives it word by word."""
APART = 0.05
"""Seconds between two writes that must not arrive in one read."""


def words(text: str) -> list[str]:
    """The text in pieces that make it up again."""
    first, *others = text.split(" ")
    return [first, *(f" {word}" for word in others)]


ERROR = {"error": {"message": "The engine broke.", "type": "server_error", "param": None, "code": "engine"}}


class Call:
    """One of Chat Completions. ``number`` counts the requests for one model, ``nth`` those of the connection, both
    from 1. Times are ``time.monotonic()``.
    """

    def __init__(self, peer: Peer, request: Received, number: int) -> None:
        self.peer = peer
        self.body: dict[str, Any] = orjson.loads(request.body)
        self.headers = request.headers
        self.model = str(self.body["model"])
        self.stream = self.body.get("stream") is True
        self.number = number
        self.connection = peer.number
        self.nth = peer.served
        self.at = time.monotonic()
        self.left_at = 0.0
        self.left = asyncio.Event()

    @property
    def prefill(self) -> str:
        """The beginning of an answer that the request wants to be gone on from."""
        messages = self.body.get("messages") or [{}]
        last = messages[-1]
        return str(last.get("content") or "") if last.get("role") == "assistant" else ""

    def whole(self, text: str | None = None) -> bytes:
        """The body of a completion with usage: 10 tokens of prompt, one for each word."""
        said = self._rest() if text is None else text
        count = len(words(said))
        message = {"role": "assistant", "content": said}
        return orjson.dumps(
            {
                "id": f"c{self.number}",
                "object": "chat.completion",
                "model": self.model,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count},
            }
        )

    def events(self) -> list[bytes]:
        """The events of the whole answer but the last two: those with its words and the one that says why it ended."""
        return [*(delta(word) for word in words(self._rest())), delta("", "stop")]

    def end(self) -> list[bytes]:
        """The events that end a stream: usage, where it was asked for, and the terminator."""
        options = self.body.get("stream_options") or {}
        usage = [usage_event(10, len(words(self._rest())))] if options.get("include_usage") else []
        return [*usage, DONE]

    def piece(self, text: str) -> bytes:
        """An event that goes on with the text."""
        return delta(text)

    def error(self) -> bytes:
        """An event that reports an error."""
        return b"data: %b\n\n" % orjson.dumps(ERROR)

    @property
    def started(self) -> int:
        """How many of the events come before the first word."""
        return 0

    def _rest(self) -> str:
        return TEXT.removeprefix(self.prefill)

    # saying it

    async def send(self, *pieces: bytes) -> None:
        """Write these bytes as they are."""
        await self.peer.send(*pieces)

    async def begin(self, *events: bytes) -> None:
        """The head of a stream and its first events."""
        await self.send(STREAM_HEAD, *(chunk(event) for event in events))

    async def go_on(self, *events: bytes) -> None:
        """Further events."""
        await self.send(*(chunk(event) for event in events))

    async def words(self, count: int = 4) -> None:
        """The first words of a stream, which reach the gateway before what comes next."""
        await self.begin(*self.events()[: self.started + count])
        await asyncio.sleep(APART)

    async def finish(self) -> None:
        """The end of the body."""
        await self.send(LAST_CHUNK)

    async def reply(self) -> None:
        """The good answer, whole or streamed as was asked for."""
        if self.stream:
            await self.begin(*self.events(), *self.end())
            await self.finish()
        else:
            await self.send(answer(self.whole()))

    async def refuse(self, status: bytes, *headers: bytes, code: str = "fault", message: str = "No.") -> None:
        """An error in OpenAI's envelope."""
        error = {"message": message, "type": "fault_error", "param": None, "code": code}
        await self.send(answer(orjson.dumps({"error": error}), *headers, status=status))

    async def gone(self) -> None:
        """Wait until the gateway gives the call up, and note when."""
        async with asyncio.timeout(WAIT):
            await self.peer.gone()
        self.left_at = time.monotonic()
        self.left.set()

    def close(self, *, reset: bool = False) -> None:
        """End the connection from this side."""
        self.peer.close(reset=reset)
