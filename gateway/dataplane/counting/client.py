"""A worker's side of counting: asks the process that counts, starts it when needed, and does without where it fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from gateway.dataplane.counting.wire import HEAD, Ask, Counted

logger = logging.getLogger("gateway.counting")

MOST_WAITING = 256
MOST_BYTES = 33_554_432
"""Bounds of what waits to be counted; what is more is estimated by its size instead."""
LONGEST = 30.0  # seconds to wait for an answer; the first has half a second of work on its tables before it
IDLE = 60.0  # seconds without anything to count after which the process is let go
PAUSE = 30.0  # seconds without trying again after it has failed
COMMAND = (sys.executable, "-m", "gateway.dataplane.counting")

Done: TypeAlias = Callable[[Counted | None], None]


class Counter:
    """Counts in another process. ``done`` is called once for each ask, with None where it could not be counted."""

    def __init__(self, loop: asyncio.AbstractEventLoop, command: Sequence[str] = COMMAND) -> None:
        self._loop = loop
        self._command = command
        self._waiting: dict[int, tuple[Ask, Done, int]] = {}
        self._bytes = 0
        self._number = 0
        self._not_before = 0.0
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._more = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False

    def count(self, ask: Ask, done: Done) -> None:
        """Take an ask; ``done`` is called later, or at once where too much waits already."""
        size = len(ask.request or b"") + len(ask.produced.events) + len(ask.produced.text) + len(ask.produced.thoughts)
        full = len(self._waiting) >= MOST_WAITING or self._bytes + size > MOST_BYTES
        if full or self._closed or self._loop.time() < self._not_before:
            done(None)
            return
        self._number += 1
        ask.number = self._number
        self._waiting[ask.number] = ask, done, size
        self._bytes += size
        self._empty.clear()
        self._more.set()
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def close(self, seconds: float) -> None:
        """Wait for what is being counted, at most so many seconds; what is left then is not counted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        self._closed = True
        self._give_up()
        self._more.set()
        self._kill()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._use_a_process()
        finally:
            self._task = None
            self._give_up()

    async def _use_a_process(self) -> None:
        """Start one, ask it until it fails or nothing has come for a while, and let it go."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True
            )
            await self._converse(self._process)
        except (OSError, EOFError, TimeoutError, msgspec.DecodeError) as error:
            if not self._closed:
                self._not_before = self._loop.time() + PAUSE
                logger.error("tokens can't be counted", extra={"reason": str(error) or type(error).__name__})
                self._give_up()
        finally:
            process = self._kill()
            self._process = None
            if process is not None:
                await process.communicate()  # its pipes are closed by then

    def _kill(self) -> asyncio.subprocess.Process | None:
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        return process

    async def _converse(self, process: asyncio.subprocess.Process) -> None:
        """Ask one thing after the other, until nothing has come for a while."""
        asks, answers = process.stdin, process.stdout
        assert asks is not None
        assert answers is not None
        encode = msgspec.msgpack.Encoder().encode
        decode = msgspec.msgpack.Decoder(Counted).decode
        while True:
            while self._waiting:
                number = next(iter(self._waiting))
                body = encode(self._waiting[number][0])
                async with asyncio.timeout(LONGEST):
                    asks.write(len(body).to_bytes(HEAD) + body)
                    await asks.drain()
                    counted = decode(await answers.readexactly(int.from_bytes(await answers.readexactly(HEAD))))
                if counted.number in self._waiting:  # it may have been given up meanwhile
                    self._answer(counted.number, counted)
            if self._closed:
                return
            self._more.clear()
            try:
                async with asyncio.timeout(IDLE):
                    await self._more.wait()
            except TimeoutError:
                if not self._waiting:
                    return

    def _answer(self, number: int, counted: Counted | None) -> None:
        _, done, size = self._waiting.pop(number)
        self._bytes -= size
        if not self._waiting:
            self._empty.set()
        done(counted)

    def _give_up(self) -> None:
        for number in tuple(self._waiting):
            self._answer(number, None)
