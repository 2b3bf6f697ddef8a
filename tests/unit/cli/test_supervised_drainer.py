"""The process that sends usage to Redis as the supervisor's child: there with Redis alone, and the last to go."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.support.redis_server import RedisServer, running_redis
from tests.unit.bus.usage_pieces import FILE, append, in_stream, line
from tests.unit.cli.conftest import CONFIG, Running, Start, until


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
def config(server: RedisServer) -> str:
    return f"{CONFIG}redis_url: {server.url}\n"


def drainer_of(running: Running) -> int | None:
    """The process id of the one that holds the lock."""
    for pid in running.children():
        with contextlib.suppress(OSError):  # what has ended, or was closed, since
            if any(link.name == "drain.lock" for link in links(pid)):
                return pid
    return None


def links(pid: int) -> list[Path]:
    """What the file descriptors of a process are of."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed since
            found.append(fd.readlink())
    return found


def test_it_sends_what_is_written(start: Start, config: str, server: RedisServer, tmp_path: Path) -> None:
    running = start("proxy", "--json", config=config).wait_ready()
    folder = tmp_path / "data" / "usage"
    until(lambda: drainer_of(running))
    append(folder, FILE, line(1))
    with Redis.from_url(server.url, protocol=2) as redis:
        until(lambda: in_stream(redis))
        append(folder, FILE, line(2))
        running.send(signal.SIGTERM)
        assert running.wait() == 0
        assert [piece.data for *_, piece in in_stream(redis)] == [line(1), line(2)]


def test_it_is_started_again(start: Start, config: str) -> None:
    running = start("proxy", "--json", config=config).wait_ready()
    until(lambda: drainer_of(running))
    first = drainer_of(running)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    running.wait_log("usage drainer was killed by SIGKILL; it is started again in 0.25 s")
    until(lambda: drainer_of(running) not in (None, first))
    assert running.ask()["models"] == ["first"]


def test_it_takes_no_callers(start: Start, config: str) -> None:
    running = start("proxy", "--json", config=config).wait_ready()
    until(lambda: drainer_of(running))
    drainer = drainer_of(running)
    (worker,) = set(running.children()) - {drainer}
    listening = {link.name for link in links(worker)}
    inode = listening_inode(running.port)
    assert f"socket:[{inode}]" in listening
    assert drainer is not None
    assert f"socket:[{inode}]" not in {link.name for link in links(drainer)}


def listening_inode(port: int) -> str:
    """The inode of the socket that listens on a port of this machine."""
    address = f"{socket.inet_aton('127.0.0.1')[::-1].hex().upper()}:{port:04X}"
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = row.split()
        if fields[1] == address and fields[3] == "0A":  # LISTEN
            return fields[9]
    raise AssertionError(f"nobody listens on {port}")


def test_there_is_none_without_redis(start: Start) -> None:
    running = start("proxy", "--json").wait_ready()
    assert set(running.children()) == {running.ask()["pid"]}
