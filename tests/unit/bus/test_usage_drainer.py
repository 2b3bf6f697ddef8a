"""The process that drains: one at a time, ended by SIGTERM, and alive whatever Redis does."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from gateway.bus import usage_drainer
from gateway.bus.usage_drainer import Stop, drain_until, locked, run
from gateway.bus.usage_files import positions_of
from tests.support.redis_server import RedisServer, running_redis
from tests.unit.bus.usage_pieces import FILE, append, enter, in_stream, line


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(server.url, protocol=2) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "usage"
    path.mkdir()
    return path


@pytest.fixture
def stop() -> Iterator[Stop]:
    made = Stop()
    yield made
    made.close()


def until(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 40
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_it_drains_until_sigterm(folder: Path, server: RedisServer, redis: Redis) -> None:
    append(folder, FILE, line(1))
    read_fd, write_fd = os.pipe()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = run(folder, server.url, write_fd)
        finally:
            os._exit(code)
    os.close(write_fd)
    try:
        assert os.read(read_fd, 2) == b"1"
        until(lambda: in_stream(redis))
        enter(redis, [])
        append(folder, FILE, line(2))  # what is written just before the end is sent as well
    finally:
        os.close(read_fd)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert [piece.data for *_, piece in in_stream(redis)] == [line(2)]
    assert positions_of(folder).files == {FILE: len(line(1))}


def test_a_second_waits_until_the_first_is_no_more(folder: Path, stop: Stop) -> None:
    order: list[str] = []

    def second() -> None:
        with locked(folder, stop) as ours:
            assert ours
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(folder, stop) as ours:
        assert ours
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join(40)
    assert order == ["first", "second"]


def test_who_waits_can_be_told_to_stop(folder: Path, stop: Stop) -> None:
    told: list[bool] = []
    other = Stop()

    def second() -> None:
        with locked(folder, other) as ours:
            told.append(ours)

    with locked(folder, stop):
        thread = threading.Thread(target=second)
        thread.start()
        other.set()
        thread.join(40)
    other.close()
    assert told == [False]


def test_redis_may_come_and_go(
    folder: Path, server: RedisServer, redis: Redis, stop: Stop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server.stop()
    append(folder, FILE, line(1))
    thread = threading.Thread(target=drain_until, args=(stop, folder, server.url))
    thread.start()
    until(lambda: any("not sent to Redis" in record.message for record in caplog.records))
    server.start()
    until(lambda: in_stream(redis))
    server.stop()  # and what it held is lost
    append(folder, FILE, line(2))
    until(lambda: sum("not sent to Redis" in record.message for record in caplog.records) == 2)
    server.start()
    ledger: list[bytes] = []

    def all_entered() -> bool:
        enter(redis, ledger)
        return len(ledger) == 2

    until(all_entered)
    stop.set()
    thread.join(40)
    assert ledger == [line(1).strip(), line(2).strip()]
    assert [record.message for record in caplog.records if "again" in record.message] == [
        "usage is sent to Redis again"
    ] * 2


def test_the_end_without_redis(
    folder: Path, server: RedisServer, stop: Stop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_drainer, "FINISH", 0.1)
    append(folder, FILE, line(1))
    server.stop()
    stop.set()
    drain_until(stop, folder, server.url)
    assert caplog.records[-1].message == "usage stays on disk"
