"""One ``gateway serve`` or ``gateway proxy`` and the processes under it: killed by their ids, and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.gateway import RunningGateway, children_of, holds_open, is_sidecar

GONE = 30.0  # seconds the kernel has to end the children of who was killed


class Tree:
    """A gateway in ``folder``. ``root`` is its address, None while it is down; ``config`` is what it is started with,
    and ``while_down`` is called before it is started again.
    """

    def __init__(
        self, config: dict[str, Any], folder: Path, command: str, env: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.root: str | None = None
        self.config = config
        self._command = command
        self._env = env
        self.while_down: Callable[[Tree], None] = lambda _: None
        self._gateway: RunningGateway | None = None
        self._before = ""

    @property
    def config_path(self) -> Path:
        """Its ``gateway.yaml``."""
        return self.folder / "gateway.yaml"

    @property
    def outbox(self) -> Path:
        """Where its workers write what was used."""
        return self.folder / "data" / "usage"

    async def start(self) -> None:
        """Start it and wait until its workers accept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._gateway = await asyncio.to_thread(RunningGateway, self.config, self.folder, self._env, self._command)
        self.root = self._gateway.root

    async def kill(self) -> None:
        """Kill the supervisor; returns when the kernel has ended every process under it."""
        gateway = self._started()
        family = self._children()
        self.root, self._gateway = None, None
        os.kill(gateway.pid, signal.SIGKILL)
        await asyncio.to_thread(gateway.kill)  # reaps it, and closes what was read from it
        deadline = time.monotonic() + GONE
        while left := [pid for pid in family if is_alive(pid)]:
            assert time.monotonic() < deadline, f"{left} outlive their supervisor"
            await asyncio.sleep(0.01)

    async def restart(self) -> None:
        """Kill all of it and start it again."""
        await self.kill()
        self.while_down(self)
        await self.start()

    async def stop(self) -> None:
        """End it as an operator does; its end is checked."""
        gateway, self._gateway, self.root = self._gateway, None, None
        if gateway is not None:
            await asyncio.to_thread(gateway.stop)
            self._before = gateway.log() + "\n"

    def processes(self) -> list[int]:
        """The ids of all its processes, the supervisor's first."""
        return [] if self._gateway is None else [self._gateway.pid, *self._children()]

    def workers(self) -> list[int]:
        """The ids of its workers."""
        others = (is_sidecar, is_drainer, is_counter)
        return [pid for pid in self._children() if not any(is_other(pid) for is_other in others)]

    def counters(self) -> list[int]:
        """The ids of the processes that count tokens for its workers, where some were needed."""
        return [pid for pid in self._children() if is_counter(pid)]

    def drainers(self) -> list[int]:
        """The id of the process that sends usage to Redis, where one runs under it."""
        return [pid for pid in self._children() if is_drainer(pid)]

    def sidecars(self) -> list[int]:
        """The id of its sidecar, where one runs under it."""
        return [pid for pid in self._children() if is_sidecar(pid)]

    def log(self) -> str:
        """What it wrote last, and before it was last stopped."""
        return self._before + ("" if self._gateway is None else self._gateway.log())

    def _started(self) -> RunningGateway:
        assert self._gateway is not None
        return self._gateway

    def _children(self) -> list[int]:
        if self._gateway is None:
            return []
        return children_of(self._gateway.pid)


def is_counter(pid: int) -> bool:
    """Whether it is a process that counts tokens for a worker."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return b"gateway.dataplane.counting" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def is_drainer(pid: int) -> bool:
    """Whether it is the process that holds the outbox, or waits for it; it is forked, so its command tells nothing."""
    return holds_open(pid, "/drain.lock")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in ("Z", "X")
    return False


def kill(pid: int) -> bool:
    """Kill a process that this test started; False where it has ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
