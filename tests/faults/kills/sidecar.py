"""One ``gateway sidecar`` that is started again whenever it ends, as a service manager does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

AGAIN = 0.25  # seconds
STOP = 40.0
_COMMAND = str(Path(sys.executable).with_name("gateway"))


class Sidecar:
    """A sidecar with its files in ``folder``, started with ``config``; it listens at ``address``."""

    def __init__(self, config: dict[str, Any], folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.config_path = folder / "gateway.yaml"
        self.address = f"unix:{folder / 'data' / 'run' / 'sidecar.sock'}"
        self.config = config
        self._log = folder / "log"
        self._env = {**os.environ, **(env or {})}
        self._process: Process | None = None
        self._running: asyncio.Task[int] | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Its process; None between two of them."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Run it from now on."""
        self.config_path.parent.mkdir(parents=True, exist_ok=True)
        self.config_path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End it as an operator does; its end is checked."""
        if self._running is None:
            return
        self._stopping = True
        if self._process is not None:
            self._process.terminate()
        async with asyncio.timeout(STOP):
            code = await self._running
        # One that has only just been started has no handler yet.
        assert code in (0, -signal.SIGTERM), f"the sidecar ended with {code}:\n{self.log()}"

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text()[-20_000:] if self._log.exists() else ""

    async def _run(self) -> int:
        while True:
            with self._log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    _COMMAND, "sidecar", "--config", str(self.config_path), "--json",
                    cwd=self.config_path.parent, env=self._env, stdout=log, stderr=log,
                )  # fmt: skip
            code = await self._process.wait()
            self._process = None
            if self._stopping:
                return code
            await asyncio.sleep(AGAIN)
