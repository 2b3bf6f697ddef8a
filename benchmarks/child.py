"""A process the benchmark starts, waits for and ends."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import procfs

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class StartError(Exception):
    """A process did not come up; the text ends with what it printed."""


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """A running process whose output goes to a file.

    A file and not a pipe: reading a pipe would take processor time from what is measured.
    """

    def __init__(self, command: Sequence[str], output: Path, env: dict[str, str] | None = None) -> None:
        self.output = output
        self.started = time.perf_counter()
        with output.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self) -> int:
        """The process id: the root of the tree that is measured."""
        return self._process.pid

    def wait_ready(self, timeout: float = 30.0) -> dict[str, Any]:
        """The JSON line with ``"event": "ready"`` that the process prints. Raises :class:`StartError`."""
        deadline = time.monotonic() + timeout
        with self.output.open("rb") as file:
            buffered = b""
            while True:
                buffered += file.read()
                *lines, buffered = buffered.split(b"\n")
                for line in lines:
                    if (told := _ready(line)) is not None:
                        return told
                self.check()
                if time.monotonic() > deadline:
                    raise StartError(f"not ready within {timeout:g} s:\n{self.tail()}")
                time.sleep(0.001)

    def check(self) -> None:
        """Raise :class:`StartError` if the process has ended."""
        if self._process.poll() is not None:
            raise StartError(f"ended with status {self._process.returncode}:\n{self.tail()}")

    def tail(self, size: int = 2000) -> str:
        """The last of what the process printed."""
        return self.output.read_bytes()[-size:].decode(errors="replace")

    def stop(self, grace: float = 5.0) -> None:
        """Ask the process to end, then end whatever of its tree is left."""
        pids = [stat.pid for stat in procfs.tree(self.pid)]
        self._process.terminate()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()


def _ready(line: bytes) -> dict[str, Any] | None:
    if b"ready" not in line:
        return None
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) and told.get("event") == "ready" else None


@contextlib.contextmanager
def running(command: Sequence[str], output: Path, env: dict[str, str] | None = None) -> Iterator[Child]:
    """Start a process and end it when the block is left."""
    child = Child(command, output, env)
    try:
        yield child
    finally:
        child.stop()
