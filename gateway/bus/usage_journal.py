"""Where usage events are until they are in a segment: a small mapped file, which outlives the process.

To put an event there is a copy within memory, where a write would be a call of the kernel's between the upstream's
answer and the client's. What a killed process left behind is written to its segment by the next one, exactly: the
journal tells where in which segment its bytes begin, and the segment's size how many of them have arrived.

::

    0   number of the segment        three words in the machine's order: each is stored by one instruction, so a
    8   offset of the first byte     process that is killed leaves the old one or the new one
    16  bytes kept
    64  the bytes
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

logger = logging.getLogger("gateway.usage")

SIZE: Final = 262_144
_HEAD: Final = 64
_NUMBER, _OFFSET, _LENGTH = 0, 1, 2

Left = tuple[int, int, bytes]
"""The number of a segment, the offset that the bytes begin at in it, and the bytes."""


class Journal:
    """One process's file. Made by :meth:`open`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map = mmap.mmap(fd, SIZE)
        self._words = memoryview(self._map)[:24].cast("Q")

    @classmethod
    def open(cls, path: Path, *, again: bool = False, wait: float = 0.0) -> Journal | None:
        """The journal in a file, made where there is none; ``again`` is to open one that holds something.

        None where another process has it for longer than ``wait`` seconds, where it still holds something, or the disk
        has no room for it.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(fd, time.monotonic() + wait)
            size = os.fstat(fd).st_size
            while size < SIZE:
                # Really written: a page of a file with holes may find the disk full when it is touched (SIGBUS).
                size += os.pwrite(fd, bytes(SIZE - size), size)
            found = cls(fd)
        except OSError:
            os.close(fd)
            return None
        if found.left()[2] and not again:
            found.close()
            return None
        return found

    def begin(self, number: int, offset: int, buffer: bytearray) -> None:
        """Forget what is kept; ``buffer``, and what comes behind it, belongs at ``offset`` in segment ``number``."""
        self._words[_LENGTH] = 0
        self.move(number, offset)
        if buffer:
            self.keep(buffer, 0)

    def move(self, number: int, offset: int) -> None:
        """What is kept belongs at ``offset`` in segment ``number``, of which nothing of it has arrived."""
        # In this order: killed in between, a new segment has fewer bytes than the old offset, and gets them all.
        self._words[_NUMBER] = number
        self._words[_OFFSET] = offset

    def keep(self, buffer: bytearray, start: int) -> bool:
        """Keep ``buffer`` from ``start`` on, which is how much is kept already. False: there is no room."""
        end = len(buffer)
        if end > SIZE - _HEAD:
            return False
        self._map[_HEAD + start : _HEAD + end] = buffer[start:] if start else buffer
        self._words[_LENGTH] = end
        return True

    def left(self) -> Left:
        """What is kept."""
        number, offset, length = self._words.tolist()
        return number, offset, self._map[_HEAD : _HEAD + min(length, SIZE - _HEAD)]

    def close(self) -> None:
        """Let another process have it."""
        self._words.release()
        self._map.close()
        os.close(self._fd)


def recover(directory: Path) -> None:
    """Write what processes that are no more left in their journals to their segments. Anyone may, at any time.

    Where that can't be written now it stays, for the next to try.
    """
    for path, worker in _journals(directory):
        if not _head_of(path)[_LENGTH]:
            continue
        journal = Journal.open(path, again=True)
        if journal is None:
            continue
        try:
            number, offset, left = journal.left()
            if left:
                _write(directory / segment_name(worker, number), offset, left)
                journal.begin(number, offset + len(left), bytearray())
        except OSError as error:
            logger.error("usage left in a journal can't be written", extra={"file": path.name, "reason": str(error)})
        finally:
            journal.close()


def settle(directory: Path, seconds: float = 1.0) -> None:
    """As :func:`recover`, and wait until living processes have written what they keep, at most so long.

    Under steady traffic they always keep something; then what they kept at first is long written.
    """
    until = time.monotonic() + seconds
    recover(directory)
    while any(_head_of(path)[_LENGTH] for path, _ in _journals(directory)) and time.monotonic() < until:
        time.sleep(0.01)
        recover(directory)


def holds(directory: Path, segment: str) -> bool:
    """Whether a journal keeps bytes of a segment, so that it will still grow."""
    for path, worker in _journals(directory):
        number, _, length = _head_of(path)
        if length and segment_name(worker, number) == segment:
            return True
    return False


def segment_name(worker: int, number: int) -> str:
    """The name of a worker's segment."""
    return f"usage-{worker}-{number:08d}.jsonl"


def journal_name(worker: int) -> str:
    """The name of a worker's journal."""
    return f"usage-{worker}.journal"


def _journals(directory: Path) -> Iterator[tuple[Path, int]]:
    for path in sorted(directory.glob("usage-*.journal")):
        worker = path.stem.removeprefix("usage-")
        if worker.isdigit():
            yield path, int(worker)


def _head_of(path: Path) -> tuple[int, int, int]:
    """The three words, read without the lock; zeros where there is no journal yet."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        head = file.read(24)
        if len(head) == 24:
            number, offset, length = memoryview(head).cast("Q").tolist()
            return number, offset, length
    return 0, 0, 0


def _lock(fd: int, until: float) -> None:
    """Raises BlockingIOError where another process has it still."""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.01)
        else:
            return


def _write(path: Path, offset: int, left: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Of a segment that was entered whole and removed meanwhile nothing of these bytes had arrived.
        arrived = max(0, os.fstat(fd).st_size - offset)
        rest = memoryview(left)[arrived:]
        while rest:
            written = os.write(fd, rest)  # not within the brackets, where it would happen twice once compiled
            rest = rest[written:]
    finally:
        os.close(fd)
