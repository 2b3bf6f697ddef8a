"""Running a request's pipeline with as little as it needs.

Most requests wait once: for their upstream. Such a wait needs no task and no future: the pipeline's coroutine is
resumed by hand, within the callback that brought the answer's end. What else may wait (dialling, pausing before a
retry, a plugin's coroutine) runs in an asyncio task, as its libraries expect; a pipeline moves into one when it meets
the first such wait.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Coroutine, Generator
from typing import Any, Final, cast

# A task that runs at once up to its first wait saves a turn of the event loop; Python has it from 3.12 on.
_Task: Any = functools.partial(cast("Any", asyncio.Task), eager_start=True) if sys.version_info >= (3, 12) else None


class _IntoTask:
    """Awaited by a pipeline that runs by hand before it waits for anything but its attempt."""

    def __await__(self) -> Generator[Any, None, None]:
        yield self


INTO_TASK: Final = _IntoTask()
_OVER: Final = object()


class Flow:
    """One running pipeline. ``by_hand`` tells how; ``task`` is what it runs in otherwise."""

    __slots__ = ("_coroutine", "_future", "_loop", "_steps", "_waiting", "by_hand", "task")

    def __init__(self, coroutine: Coroutine[Any, None, None], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine = coroutine
        self._steps = coroutine.__await__()
        self._loop = loop
        self._waiting = False
        self._future: asyncio.Future[Any] | None = None
        self.by_hand = True
        self.task: asyncio.Task[None] | None = None

    def start(self, *, as_task: bool) -> None:
        """Begin; up to the first wait where it is run by hand."""
        self.by_hand = not as_task  # known before a task begins that begins at once
        if not as_task:
            self.resume()
        elif _Task is not None:
            self.task = _Task(self._coroutine, loop=self._loop)
        else:
            self.task = self._loop.create_task(self._coroutine)

    def resume(self) -> None:
        """Go on to the next wait. Only for a flow that is run by hand, and is waiting or has not begun."""
        self._waiting = False
        # Not send(), which tells the end by an exception: that, and its traceback, cost a fiftieth of a request.
        waited = next(self._steps, _OVER)
        if waited is _OVER:
            return
        if waited is INTO_TASK:
            self._go_on_in_task()
        elif isinstance(waited, asyncio.Future):
            # A plain hook returned something to wait for: only now is it known that a task is needed.
            waited._asyncio_future_blocking = False
            self._future = waited
            waited.add_done_callback(self._go_on_in_task)
        else:
            self._waiting = True

    def _go_on_in_task(self, _: object = None) -> None:
        self._future = None
        self.by_hand = False
        self.task = self._loop.create_task(self._coroutine)

    def cancel(self) -> None:
        """Stop what is being waited for. By hand that is an attempt, which is cancelled itself, or a future."""
        if self._future is not None:
            self._future.remove_done_callback(self._go_on_in_task)
            self._go_on_in_task()
        if self.task is not None:
            self.task.cancel()

    def wake(self) -> None:
        """What the flow waits for by hand is here. Nothing happens where it has not come to wait for it yet."""
        if self._waiting:
            self.resume()
