"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any, Final

_AGAIN: Final = 0.1  # seconds


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until they are over; what they raise is for whoever asks them.

    Once is not enough: ``asyncio.wait_for`` of Python 3.11, which libraries use, swallows a cancellation that comes in
    the turn in which what it waits for is done (python/cpython issue 86296).
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN)
    for task in tasks:
        if not task.cancelled():
            task.exception()
