from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DRIVER = Path(__file__).with_name("driver.py")
CONFIG = """
server: {port: 0, drain: 10}
providers: [{name: p, base_url: 'http://127.0.0.1:9/v1'}]
models: [{name: first, targets: [{provider: p, model: x}]}]
"""


class Running:
    """A gateway process with the stand-in worker: its ready line, its logs, and a way to ask its worker."""

    def __init__(self, directory: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, str(DRIVER), *arguments],
            cwd=directory,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.ready: dict[str, Any] = {}

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_ready(self) -> Running:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "".join(self.lines)
        self.ready = json.loads(line)
        return self

    def wait_log(self, text: str, after: int = 0) -> int:
        """Wait for a log line from ``after`` on that holds ``text``; gives the place after it."""

        def found() -> int | None:
            return next((n + 1 for n, line in enumerate(self.lines) if n >= after and text in line), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._ended, timeout=60)
            place = found()
        assert place is not None, f"{text!r} is not in:\n{''.join(self.lines)}"
        return place

    @property
    def port(self) -> int:
        return int(self.ready["url"].split(":")[2].split("/")[0])

    def ask(self, path: str = "/") -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def children(self) -> dict[int, str]:
        """The children of the supervisor and their command lines."""
        pid = self.process.pid
        found: dict[int, str] = {}
        for item in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
                found[int(item)] = Path(f"/proc/{item}/cmdline").read_text().replace("\0", " ")
        return found

    def configure(self, text: str) -> None:
        """Replace the configuration file in one step: the supervisor may look at it at any time."""
        fresh = self.directory / "gateway.new"
        fresh.write_text(text)
        fresh.replace(self.directory / "gateway.yaml")

    def wait(self) -> int:
        code = self.process.wait(60)
        self._reader.join(60)
        return code


Start = Callable[..., Running]


def until(there: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 30
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts gateways in one empty directory, and ends them."""
    started: list[Running] = []

    def call(*arguments: str, config: str | None = CONFIG, env: dict[str, str] | None = None) -> Running:
        if config is not None:
            (tmp_path / "gateway.yaml").write_text(config)
        started.append(Running(tmp_path, *(arguments or ("serve", "--json")), env=env))
        return started[-1]

    yield call
    for item in started:
        if item.process.poll() is None:
            item.process.send_signal(signal.SIGKILL)
        item.process.wait()
        item._reader.join(60)
        for stream in (item.process.stdout, item.process.stderr):
            if stream is not None:
                stream.close()
