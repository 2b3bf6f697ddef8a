"""Usage events on disk before answers go out."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from gateway.bus.usage_journal import Journal, journal_name
from gateway.contract.usage import UsageEvent
from gateway.dataplane import emit
from gateway.dataplane.emit import FileSink
from tests.support.plugins import usage_event


def lines(directory: Path) -> list[bytes]:
    return [line for path in sorted(directory.glob("usage-*.jsonl")) for line in path.read_bytes().split(b"\n") if line]


def ids(directory: Path) -> list[str]:
    return [msgspec.json.decode(line, type=UsageEvent).id for line in lines(directory)]


def files(directory: Path, worker: int = 0) -> list[Path]:
    return sorted(directory.glob(f"usage-{worker}-*.jsonl"))


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[FileSink]:
    one = FileSink(tmp_path, 3, asyncio.get_running_loop())
    yield one
    one.close()


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[FileSink]:
    """A sink without a journal: another process has it."""
    held = Journal.open(tmp_path / journal_name(0))
    assert held is not None
    one = FileSink(tmp_path, 0, asyncio.get_running_loop())
    yield one
    one.close()
    held.close()


async def test_an_answer_is_released_at_once_and_its_event_in_the_file_soon(sink: FileSink, tmp_path: Path) -> None:
    released = []
    sink.append(usage_event(id="a"), lambda: released.append("a"))
    assert released == ["a"]
    assert ids(tmp_path) == []
    flushed = asyncio.Event()
    asyncio.get_running_loop().call_later(2 * emit.GATHER, flushed.set)
    await flushed.wait()
    assert ids(tmp_path) == ["a"]


async def test_a_line_is_on_disk_when_its_answer_is_released(bare: FileSink, tmp_path: Path) -> None:
    sink = bare
    seen: list[tuple[str, list[str]]] = []

    def release(name: str) -> Callable[[], None]:
        return lambda: seen.append((name, ids(tmp_path)))

    for name in ("a", "b"):
        sink.append(usage_event(id=name), release(name))
    assert seen == []
    await asyncio.sleep(0)
    assert seen == [("a", ["a", "b"]), ("b", ["a", "b"])]
    sink.append(usage_event(id="c"), release("c"))
    await asyncio.sleep(0)
    assert seen[-1] == ("c", ["a", "b", "c"])


async def test_events_that_come_soon_after_one_another_share_one_write(
    sink: FileSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = []
    write = os.write

    def counted(fd: int, data: bytes) -> int:
        writes.append(len(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", counted)
    for number in range(50):
        sink.append(usage_event(id=str(number)), lambda: None)
        await asyncio.sleep(0)
    assert not writes
    sink.flush()
    assert len(writes) == 1


async def test_events_of_one_turn_share_one_write(bare: FileSink, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = []
    write = os.write

    def counted(fd: int, data: bytes) -> int:
        writes.append(len(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", counted)
    for number in range(50):
        bare.append(usage_event(id=str(number)), lambda: None)
    await asyncio.sleep(0)
    assert len(writes) == 1


async def test_an_event_survives_the_disk_as_it_was(sink: FileSink, tmp_path: Path) -> None:
    event = usage_event(id="x", model="m\n\u2028é", tags={"a": "b\n"}, cost_nanos=7, first_token_ns=None)
    sink.append(event, lambda: None)
    sink.flush()
    (line,) = lines(tmp_path)
    assert msgspec.json.decode(line, type=UsageEvent) == event


async def test_the_file_is_for_its_owner_alone(sink: FileSink, tmp_path: Path) -> None:
    (path,) = files(tmp_path, 3)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.name == "usage-3-00000001.jsonl"


async def test_closing_writes_and_releases_what_is_left(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, 0, asyncio.get_running_loop())
    released = []
    sink.append(usage_event(id="last"), lambda: released.append(1))
    sink.close()
    assert ids(tmp_path) == ["last"]
    assert released == [1]


async def test_files_are_cut_at_a_size_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emit, "SEGMENT_BYTES", 2000)
    monkeypatch.setattr(emit, "SEGMENTS", 3)
    other = tmp_path / "usage-1-00000001.jsonl"
    other.write_text("another worker's\n")
    sink = FileSink(tmp_path, 0, asyncio.get_running_loop())
    for number in range(60):
        sink.append(usage_event(id=f"{number:03d}"), lambda: None)
        sink.flush()
    sink.close()
    own = files(tmp_path)
    assert 2 <= len(own) <= 3
    assert all(path.stat().st_size < 2000 + 1000 for path in own)
    assert other.exists()
    kept = [msgspec.json.decode(line, type=UsageEvent).id for path in own for line in path.read_bytes().splitlines()]
    assert kept == [f"{number:03d}" for number in range(60 - len(kept), 60)]


async def test_a_new_process_goes_on_in_the_last_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        sink = FileSink(tmp_path, 0, asyncio.get_running_loop())
        sink.append(usage_event(id=name), lambda: None)
        sink.close()
    assert ids(tmp_path) == ["a", "b"]
    assert [path.name for path in files(tmp_path)] == ["usage-0-00000001.jsonl"]


async def test_a_new_process_after_a_torn_line_starts_a_fresh_one(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, 0, asyncio.get_running_loop())
    sink.append(usage_event(id="a"), lambda: None)
    sink.close()
    (path,) = files(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"id":"torn","endp')
    sink = FileSink(tmp_path, 0, asyncio.get_running_loop())
    sink.append(usage_event(id="b"), lambda: None)
    sink.close()
    found = lines(tmp_path)
    assert [msgspec.json.decode(found[0])["id"], msgspec.json.decode(found[-1])["id"]] == ["a", "b"]
    assert len(found) == 3


class FullDisk:
    """Takes ``room`` bytes, then refuses; stands in for ``os.write``."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.real = os.write

    def __call__(self, fd: int, data: bytearray) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self.real(fd, bytes(data[: self.room]))
        self.room -= taken
        return taken


async def test_a_full_disk_holds_answers_back_until_it_takes_their_events(
    bare: FileSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sink = bare
    monkeypatch.setattr(emit, "AGAIN", 0.01)
    disk = FullDisk(100)  # less than a line
    monkeypatch.setattr(os, "write", disk)
    released = []
    for name in ("a", "b"):
        sink.append(usage_event(id=name), lambda name=name: released.append(name))  # type: ignore[misc]
        sink.flush()
    assert released == []
    assert sink.failing
    assert caplog.text.count("requests are refused") == 1
    disk.room = 10**6
    done = asyncio.Event()
    sink.append(usage_event(id="c"), done.set)
    await done.wait()  # tried again by itself
    assert released == ["a", "b"]
    assert ids(tmp_path) == ["a", "b", "c"]
    assert not sink.failing
    assert sink.dropped == 0


async def test_what_a_full_disk_never_took_is_counted_and_its_answers_never_end(
    bare: FileSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sink = bare
    released = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", FullDisk(700))  # a line, and the beginning of another
        for number in range(3):
            sink.append(usage_event(id=str(number), tags={"long": "x" * 300}), lambda: released.append(1))
        sink.close()
    assert released == []
    assert sink.dropped == 3
    assert "is lost" in caplog.text
    assert len(lines(tmp_path)) == 2
    after = FileSink(tmp_path, 0, asyncio.get_running_loop())
    after.append(usage_event(id="after"), lambda: released.append(1))
    after.close()
    assert released == [1]
    assert msgspec.json.decode(lines(tmp_path)[-1], type=UsageEvent).id == "after"


async def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emit, "SEGMENT_BYTES", 10)
    sink = FileSink(tmp_path, 0, asyncio.get_running_loop())
    sink.append(usage_event(id="a"), lambda: None)
    sink.flush()
    real = os.open

    def fails(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", fails)
    sink.append(usage_event(id="b"), lambda: None)
    sink.flush()
    assert ids(tmp_path) == ["a"]
    monkeypatch.setattr(os, "open", real)
    sink.append(usage_event(id="c"), lambda: None)
    sink.flush()
    assert ids(tmp_path) == ["a", "b", "c"]
    sink.close()


async def test_a_mark_made_where_a_file_ends_does_not_pass_what_the_next_one_begins_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emit, "SEGMENT_BYTES", 100)
    sink = FileSink(tmp_path, 0, asyncio.get_running_loop())
    sink.append(usage_event(id="first"), lambda: None)
    sink.flush()
    sink.append(usage_event(id="second"), lambda: None)
    mark = sink.mark()  # what is still to be written included
    sink.append(usage_event(id="third"), lambda: None)
    sink.close()
    assert [event.id for event in sink.since(mark)] == ["third"]


async def test_a_mark_is_right_where_no_next_file_can_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emit, "SEGMENT_BYTES", 100)
    sink = FileSink(tmp_path, 0, asyncio.get_running_loop())
    sink.append(usage_event(id="first"), lambda: None)
    sink.flush()
    with monkeypatch.context() as patched:

        def broken(*_: object) -> int:
            raise OSError(errno.EMFILE, "too many open files")

        patched.setattr(os, "open", broken)
        sink.append(usage_event(id="second"), lambda: None)
        sink.flush()
        mark = sink.mark()
    sink.append(usage_event(id="third"), lambda: None)
    sink.close()
    assert [event.id for event in sink.since(mark)] == ["third"]
