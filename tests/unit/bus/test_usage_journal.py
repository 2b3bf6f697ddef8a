"""Events that were answered for are in the files once, whenever the process ends and whatever the disk takes."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus import usage_journal as journal
from gateway.bus.usage_files import pieces, segments
from gateway.bus.usage_journal import Journal, journal_name
from gateway.contract.usage import UsageEvent
from gateway.dataplane import emit
from gateway.dataplane.emit import FileSink
from tests.support.plugins import usage_event


def ids(directory: Path) -> list[str]:
    texts = [line for path in sorted(directory.glob("usage-*.jsonl")) for line in path.read_bytes().split(b"\n")]
    found = []
    for text in texts:
        try:
            found.append(msgspec.json.decode(text, type=UsageEvent).id)
        except msgspec.DecodeError:
            continue  # torn
    return found


def is_empty(directory: Path) -> bool:
    found = Journal.open(directory / journal_name(0))  # none where it still holds something
    if found is not None:
        found.close()
    return found is not None


def kill(sink: FileSink) -> None:
    """Let go of everything as a process that is killed does: nothing more is written."""
    if sink._flushing is not None:
        sink._flushing.cancel()
        sink._flushing = None
    if sink._journal is not None:
        sink._journal.close()
        sink._journal = None
    os.close(sink._fd)


class Disk:
    """Takes each write whole, in part, or not at all, as told; stands in for ``os.write``."""

    def __init__(self) -> None:
        self.room: int | None = None
        self._real = os.write

    def __call__(self, fd: int, data: Any) -> int:
        if self.room is None:
            return self._real(fd, data)
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self._real(fd, bytes(data[: self.room]))
        self.room -= taken
        return taken


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 400)),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("room"), st.integers(0, 900)),
        st.tuples(st.just("plenty"), st.just(0)),
        st.tuples(st.just("kill"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=_STEPS, bytes_of_journal=st.sampled_from([700, 2_000, 262_144]))
def test_what_was_answered_is_in_the_files_once(steps: list[tuple[str, int]], bytes_of_journal: int) -> None:
    asyncio.run(_walk(steps, bytes_of_journal))


async def _walk(steps: list[tuple[str, int]], bytes_of_journal: int) -> None:
    disk = Disk()
    released: list[str] = []
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        directory = Path(name)
        patched.setattr(os, "write", disk)
        patched.setattr(emit, "SEGMENT_BYTES", 1_500)
        patched.setattr(emit, "SEGMENTS", 1_000)
        patched.setattr(journal, "SIZE", bytes_of_journal)
        sink = FileSink(directory, 0, asyncio.get_running_loop())
        for number, (step, size) in enumerate(steps):
            if step == "append":
                event = usage_event(id=str(number), tags={"x": "y" * size})
                sink.append(event, lambda id=str(number): released.append(id))  # type: ignore[misc]
            elif step == "flush":
                sink.flush()
            elif step == "kill":
                kill(sink)
                sink = FileSink(directory, 0, asyncio.get_running_loop())
            else:
                disk.room = size if step == "room" else None
        kill(sink)
        disk.room = None
        FileSink(directory, 0, asyncio.get_running_loop()).close()
        found = Counter(ids(directory))
        assert [id for id in released if found[id] != 1] == []
        assert max(found.values(), default=1) == 1
        assert is_empty(directory)


async def open_and_close(directory: Path, worker: int) -> None:
    FileSink(directory, worker, asyncio.get_running_loop()).close()


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from gateway.dataplane.emit import FileSink
from tests.support.plugins import usage_event

async def main():
    sink = FileSink(Path(sys.argv[1]), 0, asyncio.get_running_loop())
    for name in "abc":
        sink.append(usage_event(id=name), lambda name=name: print(name, flush=True))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_what_a_killed_process_answered_is_written_by_the_next(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert ended.stdout.split() == ["a", "b", "c"]
    assert ids(tmp_path) == []
    assert not is_empty(tmp_path)
    asyncio.run(open_and_close(tmp_path, 7))  # whichever worker comes first
    assert ids(tmp_path) == ["a", "b", "c"]
    assert is_empty(tmp_path)


async def test_only_one_process_has_a_journal(tmp_path: Path) -> None:
    one = FileSink(tmp_path, 0, asyncio.get_running_loop())
    one.append(usage_event(id="a"), lambda: None)
    two = FileSink(tmp_path, 0, asyncio.get_running_loop())
    two.append(usage_event(id="b"), lambda: None)
    two.close()
    assert ids(tmp_path) == ["b"]
    one.close()
    assert sorted(ids(tmp_path)) == ["a", "b"]
    assert (tmp_path / "usage-0-00000002.jsonl").exists()


def test_a_disk_without_room_for_a_journal_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert Journal.open(tmp_path / journal_name(0)) is None


async def test_a_journal_is_for_its_owner_alone(tmp_path: Path) -> None:
    FileSink(tmp_path, 3, asyncio.get_running_loop()).close()
    assert (tmp_path / journal_name(3)).stat().st_mode & 0o777 == 0o600


async def test_who_reads_the_files_waits_for_the_rest_of_a_line_that_is_in_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FileSink(tmp_path, 0, asyncio.get_running_loop())
    first.append(usage_event(id="answered"), lambda: None)
    full = Disk()
    full.room = 50
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        first.flush()
        kill(first)
        # The disk is as full for its successor, who can have no journal and begins a file of its own.
        second = FileSink(tmp_path, 0, asyncio.get_running_loop())
    older, newer = segments(tmp_path)
    assert (older.newest, older.size, newer.size) == (False, 50, 0)
    assert pieces(older, 0) == []
    journal.recover(tmp_path)
    (piece,) = pieces(older, 0)  # as it was seen before
    assert msgspec.json.decode(piece.data, type=UsageEvent).id == "answered"
    assert piece.fault is None
    with older.path.open("ab") as file:
        file.write(b'{"id":"torn')
    assert [found.fault for found in pieces(segments(tmp_path)[0], piece.end)] == ["the file ends within the line"]
    second.close()
