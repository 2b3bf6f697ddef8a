"""A real Redis for tests, on a Unix socket of its own, ended with the test that started it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

READY = b"eady to accept connections"
START_SECONDS = 60


def binary() -> str:
    """The ``redis-server`` that ``scripts/install-redis`` unpacked, or the one on the path."""
    unpacked = Path(__file__).parents[2] / ".cache" / "redis" / "redis-server"
    if unpacked.exists():
        return str(unpacked)
    found = shutil.which("redis-server")
    if found is None:
        raise RuntimeError("these tests need redis-server: run scripts/install-redis")
    return found


class RedisServer:
    """One server process. It can be stopped and started again; unless it ``keeps``, nothing of it is on disk."""

    def __init__(self, folder: Path, *, keeps: bool = False) -> None:
        self.folder = folder
        self._keeps = keeps
        self.socket = folder / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of its process, which must run."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """The URL for ``redis_url``."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start and wait until it answers a PING."""
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        options += ["--appendonly", "yes" if self._keeps else "no"]
        command = [binary(), *options, "--dir", str(self.folder), "--loglevel", "notice"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self._process.stdout is not None
        seen: list[bytes] = []
        for line in self._process.stdout:
            seen.append(line)
            if READY in line:
                break
        else:
            raise RuntimeError("redis-server ended at start: " + b"".join(seen[-5:]).decode(errors="replace"))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(START_SECONDS)
            client.connect(str(self.socket))
            client.sendall(b"PING\r\n")
            if client.recv(64) != b"+PONG\r\n":
                raise RuntimeError("redis-server does not answer a PING")

    def kill(self) -> None:
        """End the process with SIGKILL, as when a machine dies."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def stop(self) -> None:
        """End the process; a socket that nobody serves stays behind, as after a crash."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(START_SECONDS)
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@contextlib.contextmanager
def running_redis(*, keeps: bool = False) -> Iterator[RedisServer]:
    """A running server for the time of a ``with`` block."""
    # A short path: that of a Unix socket may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="redis-"))
    server = RedisServer(folder, keeps=keeps)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
