"""Tasks end for certain."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.kernel.tasks import end
from tests.support.raw_upstream import WAIT


async def test_a_cancellation_that_a_library_swallows_is_repeated() -> None:
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        await asyncio.wait_for(answer, WAIT)
        await asyncio.Event().wait()

    task = asyncio.create_task(serve())
    await asyncio.sleep(0)
    answer.set_result(None)  # in this very turn: Python 3.11 gives the answer and forgets the cancellation
    async with asyncio.timeout(WAIT):
        await end(task)
    assert task.cancelled()


async def test_all_of_several_are_over() -> None:
    over = []

    async def serve(number: int, swallowed: int) -> None:
        for _ in range(swallowed):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        try:
            await asyncio.Event().wait()
        finally:
            over.append(number)

    tasks = [asyncio.create_task(serve(number, number)) for number in range(3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(WAIT):
        await end(*tasks)
    assert over == [0, 1, 2]
    assert all(task.cancelled() for task in tasks)


async def test_what_a_task_raised_stays_with_it() -> None:
    async def fail() -> None:
        raise ValueError("of its own")

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await end(task)
    with pytest.raises(ValueError, match="of its own"):
        await task


async def test_nothing_to_end_is_well() -> None:
    await end()
