"""No fault at all: what a fallback does, and what its calls look like."""

from __future__ import annotations

import asyncio

from tests.faults.upstream.call import APART, Call
from tests.faults.upstream.registry import fault


@fault("healthy", "answers")
async def healthy(call: Call) -> None:
    await call.reply()


@fault("steady", "answers word by word, in its own time")
async def steady(call: Call) -> None:
    if not call.stream:
        await call.reply()
        return
    await call.begin()
    for event in (*call.events(), *call.end()):
        await asyncio.sleep(APART)
        await call.go_on(event)
    await call.finish()
