"""Upstreams that answer with what they were sent comes to: whatever its size, the answer is short."""

from __future__ import annotations

from hashlib import sha256

import orjson

from tests.support.raw_upstream import Peer, answer, completion


def named(text: str) -> str:
    """What a text comes to."""
    return sha256(text.encode()).hexdigest()


async def names(peer: Peer) -> None:
    """Answers with that of the first message, and with the client's user agent."""
    while True:
        request = await peer.request()
        text = orjson.loads(request.body)["messages"][0]["content"]
        await peer.send(answer(completion(named(text) + request.headers.get("user-agent", ""))))


async def counts(peer: Peer) -> None:
    """Answers a form as a transcription of as many as it has of the letter z."""
    while True:
        request = await peer.request()
        await peer.send(answer(b'{"text":"%d"}' % request.body.count(b"z")))
