"""Ending tasks for certain."""

from __future__ import annotations

import asyncio


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it is over: ``asyncio.wait_for`` of Python 3.11, which libraries use, may swallow one."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
    if not task.cancelled():
        task.exception()
