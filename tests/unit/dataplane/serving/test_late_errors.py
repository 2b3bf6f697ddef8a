"""An error that an upstream reports when it had said that its answer is finished."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.raw_upstream import DONE, LAST_CHUNK, STREAM_HEAD, Peer, chunk, delta, raw_upstream
from tests.support.wire import chat, post, wire
from tests.support.worker import provider, running_worker, settings_for

ENDS = delta("", "stop") + delta("", "stop").replace(b'"index":0', b'"index":1')
ERROR = b'data: {"error":{"message":"late","code":"late"}}\n\n'


READS = {
    "in one read": [ENDS + ERROR + DONE],
    "after the end": [ENDS, ERROR + DONE],
    "before the mark": [ENDS + ERROR, DONE],
    "alone": [ENDS, ERROR, DONE],
}


@pytest.mark.parametrize("reads", READS.values(), ids=READS)
async def test_it_is_passed_on_as_it_came(tmp_path: Path, reads: list[bytes]) -> None:
    """However its events come; of several choices no transcript is kept that would tell."""
    seen = asyncio.Semaphore(0)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, chunk(delta("one")))
        for read in reads[:-1]:
            await peer.send(chunk(read))
            await seen.acquire()
        await peer.send(chunk(reads[-1]), LAST_CHUNK)
        await peer.gone()

    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat(stream=True, n=2)))
        answer = await client.head()
        for read in reads[:-1]:
            while not b"".join(answer.pieces).endswith(read):
                await client.piece(answer)
            seen.release()
        assert (await client.rest(answer)).body == delta("one") + ENDS + ERROR + DONE
