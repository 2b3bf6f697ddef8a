"""Runs a real gateway process for tests: its own directory, an ephemeral port, ended by its pid."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import yaml

START_SECONDS = 60.0
STOP_SECONDS = 40.0
_KEPT_LINES = 2000
_COMMAND = Path(sys.executable).with_name("gateway")


class RunningGateway:
    """One ``gateway serve`` process, or another ``command``. ``config`` is the file's text, or its values. ``base_url``
    ends in ``/v1``, ``root`` is without it; ``key`` is the first key, where values were given.
    """

    def __init__(
        self,
        config: dict[str, Any] | str,
        directory: Path,
        env: Mapping[str, str] | None = None,
        command: str = "serve",
    ) -> None:
        self.config_path = directory / "gateway.yaml"
        self.stdout: deque[str] = deque(maxlen=_KEPT_LINES)
        self.stderr: deque[str] = deque(maxlen=_KEPT_LINES)
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._write(config)
        self.process = subprocess.Popen(
            [str(_COMMAND), command, "--config", str(self.config_path), "--json"],
            cwd=directory,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [self._reader(self.process.stdout, self._said), self._reader(self.process.stderr, self._logged)]
        try:
            ready = self._await_ready()
        except BaseException:
            self._end(signal.SIGKILL)
            raise
        self.root = str(ready["url"]).rstrip("/").removesuffix("/v1")
        self.base_url = self.root + "/v1"
        self.pid = int(ready["pid"])
        keys = (config.get("keys") if isinstance(config, dict) else None) or []
        self.key = str(keys[0]["key"]) if keys else ""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for raw sockets."""
        url = httpx.URL(self.root)
        return url.host, url.port or 80

    def kill(self) -> None:
        """End the supervisor and all it started, as a machine that dies does."""
        family = [self.pid, *children_of(self.pid)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)
        for reader in self._readers:
            reader.join(STOP_SECONDS)

    def stop(self) -> None:
        """End the gateway with SIGTERM. Raises ``AssertionError`` if it fails to end well in time."""
        code = self.process.poll()
        assert code is None, f"the gateway had ended by itself with {code}:\n{self.log()}"
        code = self._end(signal.SIGTERM)
        assert code == 0, f"the gateway ended with {code}:\n{self.log()}"

    def reload(self, config: dict[str, Any], until: Callable[[httpx.Client], bool]) -> None:
        """Write ``config``, send SIGHUP, and ask ``until`` of a client of the gateway until it says yes.

        Raises ``TimeoutError`` when it doesn't within :data:`START_SECONDS`.
        """
        self._write(config)
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + START_SECONDS
        with httpx.Client(base_url=self.root, headers={"authorization": f"Bearer {self.key}"}) as client:
            while not until(client):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the gateway did not take the new configuration:\n{self.log()}")
                time.sleep(0.02)

    def log(self) -> str:
        """The last lines of what the process wrote."""
        return "\n".join([*self.stdout, *self.stderr])

    def _write(self, config: dict[str, Any] | str) -> None:
        fresh = self.config_path.with_suffix(".new")
        fresh.write_text(config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False))
        fresh.replace(self.config_path)

    def _await_ready(self) -> dict[str, Any]:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"no ready event in {START_SECONDS} s:\n{self.log()}") from None
            if event is None:
                raise RuntimeError(f"the gateway ended at start with {self.process.wait(5)}:\n{self.log()}")
            if event.get("event") == "ready":
                return event

    def _end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the gateway ignored {how.name} for {STOP_SECONDS} s:\n{self.log()}") from None
        finally:
            for reader in self._readers:
                reader.join(STOP_SECONDS)
        return code

    def _reader(self, pipe: IO[str] | None, sink: Callable[[str], None]) -> threading.Thread:
        assert pipe is not None

        def read() -> None:
            with pipe:
                for line in pipe:
                    sink(line.rstrip("\n"))
            self._events.put(None)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread

    def _said(self, line: str) -> None:
        self.stdout.append(line)
        try:
            event = json.loads(line)
        except ValueError:
            return
        if isinstance(event, dict):
            self._events.put(event)

    def _logged(self, line: str) -> None:
        self.stderr.append(line)


def children_of(pid: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    try:
        direct = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it has ended since it was found
        return []
    return [*direct, *(further for child in direct for further in children_of(child))]


def holds_open(pid: int, ending: str) -> bool:
    """Whether a process has a file open whose path ends so; one that is no more has none."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it was closed since
                if os.readlink(fd).endswith(ending):
                    return True
    return False


def is_sidecar(pid: int) -> bool:
    """Whether it is a sidecar's process rather than a worker's."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return b"gateway.sidecar" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@contextmanager
def running_gateway(
    config: dict[str, Any] | str, directory: Path, env: Mapping[str, str] | None = None, command: str = "serve"
) -> Iterator[RunningGateway]:
    """A gateway with ``config`` (see ``gateway.yaml``) for the duration of the block; its end is checked."""
    gateway = RunningGateway(config, directory, env, command)
    try:
        yield gateway
    except BaseException:
        if gateway.process.poll() is None:
            gateway._end(signal.SIGTERM)
        raise
    gateway.stop()
