"""Answers that are late or never come. ``LATE`` seconds is longer than the deadlines that tests set."""

from __future__ import annotations

import asyncio

from tests.faults.upstream.call import Call
from tests.faults.upstream.registry import fault
from tests.support.raw_upstream import LAST_CHUNK, STREAM_HEAD, answer, chunk

LATE = 0.6


@fault("silence", "takes the request and says nothing")
async def silence(call: Call) -> None:
    await call.gone()


@fault("slow-headers", "begins to answer late")
async def slow_headers(call: Call) -> None:
    if not await _gave_up(call):
        await call.reply()


@fault("slow-first-token", "sends headers at once and the first token late")
async def slow_first_token(call: Call) -> None:
    head, body = _split(call)
    await call.send(head)
    if not await _gave_up(call):
        await call.send(body)


@fault("headers-then-silence", "sends headers and nothing more")
async def headers_then_silence(call: Call) -> None:
    await call.send(_split(call)[0])
    await call.gone()


def _split(call: Call) -> tuple[bytes, bytes]:
    if call.stream:
        return STREAM_HEAD, b"".join(chunk(event) for event in (*call.events(), *call.end())) + LAST_CHUNK
    head, end, body = answer(call.whole()).partition(b"\r\n\r\n")
    return head + end, body


async def _gave_up(call: Call) -> bool:
    """Whether the gateway gave the call up before it was time to answer."""
    try:
        async with asyncio.timeout(LATE):
            await call.gone()
    except TimeoutError:
        return False
    return True
