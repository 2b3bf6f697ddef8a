"""An upstream that answers with what the text it was sent comes to: whatever the text's size, the answer is short."""

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
