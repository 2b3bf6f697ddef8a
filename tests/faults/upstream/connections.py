"""Connections that end when they should not."""

from __future__ import annotations

from tests.faults.upstream.call import Call
from tests.faults.upstream.registry import fault
from tests.support.raw_upstream import STREAM_HEAD, answer


@fault("reset-before-headers", "resets the connection instead of answering")
async def reset_before_headers(call: Call) -> None:
    call.close(reset=True)


@fault("closed-before-headers", "closes the connection instead of answering")
async def closed_before_headers(call: Call) -> None:
    call.close()


@fault("reset-after-headers", "resets the connection after the headers")
async def reset_after_headers(call: Call) -> None:
    await call.send(STREAM_HEAD if call.stream else answer(call.whole())[:100])
    call.close(reset=True)


@fault("reset-once", "resets the connection once, and answers the next call")
async def reset_once(call: Call) -> None:
    if call.number == 1:
        call.close(reset=True)
    else:
        await call.reply()


@fault("stale-keep-alive", "closes each kept connection just as it is used again")
async def stale_keep_alive(call: Call) -> None:
    if call.nth > 1:
        call.close(reset=True)  # not a word of the answer: the request had crossed with the end of the connection
    else:
        await call.reply()
