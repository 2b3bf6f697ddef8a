"""No fault at all: what a fallback does, and what its calls look like."""

from __future__ import annotations

from tests.faults.upstream.call import Call
from tests.faults.upstream.registry import fault


@fault("healthy", "answers")
async def healthy(call: Call) -> None:
    await call.reply()
