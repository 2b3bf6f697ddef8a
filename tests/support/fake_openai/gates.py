"""Gates that hold an answer back until a test lets the next piece go."""

from __future__ import annotations

import asyncio
import threading


class Gates:
    """Named counters: :meth:`wait` in the provider takes one, :meth:`release` in a test gives some."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._open = False

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop the provider runs on."""
        self._loop = loop

    def release(self, name: str, count: int = 1) -> None:
        """Let ``count`` waits of the gate ``name`` pass. Callable from any thread."""
        gate = self._gate(name)
        assert self._loop is not None
        for _ in range(count):
            self._loop.call_soon_threadsafe(gate.release)

    def open_all(self) -> None:
        """Let everyone pass from now on, so that the server can end."""
        self._open = True
        with self._lock:
            names = list(self._gates)
        for name in names:
            self.release(name, 100)

    async def wait(self, name: str) -> None:
        """Wait for a :meth:`release` of the gate ``name``."""
        if not self._open:
            await self._gate(name).acquire()

    def _gate(self, name: str) -> asyncio.Semaphore:
        with self._lock:
            return self._gates.setdefault(name, asyncio.Semaphore(0))
