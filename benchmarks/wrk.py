"""A closed loop of requests by wrk, and what it counted."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from msgspec import Struct, convert

from benchmarks import tools

SCRIPT = Path(__file__).parent / "post.lua"
MARK = "WRK "


class LoadError(Exception):
    """A load run failed, or some of its requests did: its figures would mean nothing."""


class Run(Struct, frozen=True):
    """wrk's count of one run. Times are microseconds."""

    requests: int
    duration_us: int
    bytes: int
    p50_us: int
    p99_us: int
    connect: int
    read: int
    write: int
    status: int
    timeout: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / (self.duration_us / 1e6)

    @property
    def failed(self) -> int:
        """Requests and connections that did not end with a good answer."""
        return self.connect + self.read + self.write + self.status + self.timeout


def parse(output: str) -> Run:
    """Read what ``post.lua`` printed. Raises :class:`LoadError` if it is missing or tells of failures."""
    lines = [line for line in output.splitlines() if line.startswith(MARK)]
    if not lines:
        raise LoadError(f"wrk gave no result:\n{output[-2000:]}")
    run = convert(json.loads(lines[-1].removeprefix(MARK)), Run)
    if run.failed or not run.requests:
        raise LoadError(f"{run.requests} requests, {run.failed} failed: {lines[-1]}")
    return run


def load(
    url: str, body: Path, headers: dict[str, str], *, seconds: float, connections: int = 32, script: Path = SCRIPT
) -> Run:
    """Post ``body`` to ``url`` for ``seconds`` over kept-alive connections. Raises :class:`LoadError`."""
    pairs = [part for pair in headers.items() for part in pair]
    command = [tools.find("wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    command += ["-s", str(script), url, "--", str(body), *pairs]
    env = {**os.environ, **tools.library_path()}
    limit = seconds + 60
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=limit, check=False)
    return parse(done.stdout + done.stderr)
