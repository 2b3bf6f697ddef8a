"""Usage events on their way out: one line each in an append-only file, safe before the answer's last byte goes out.

An event goes to the journal (:mod:`gateway.bus.usage_journal`), which survives the process, and its answer out at once;
what has gathered there is written to the file some milliseconds later, in one write. Where there is no journal, the
events of one turn of the event loop share a write, and their answers wait for it.

Files are cut at a size. Whoever enters them into the ledger removes them; a worker removes one itself only when there
are ``SEGMENTS`` of its own, so that a deployment nobody collects from does not fill its disk: then the oldest goes, and
the log says so.

While the disk takes no more, the ends of answers wait for it, and new requests are refused: an answer whose event is
only in memory would be one that nobody knows of once the process is killed. So at most the events of the requests that
were under way wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from gateway.bus.usage_journal import Journal, journal_name, recover, segment_name
from gateway.contract.usage import UsageEvent

logger = logging.getLogger("gateway.usage")

SEGMENT_BYTES = 67_108_864
SEGMENTS = 64  # 4 GB a worker: hours of traffic while the ledger can't be reached
AGAIN = 0.1  # seconds until a write that failed is tried again
GATHER = 0.02  # seconds that events stay in the journal alone
RECOVERED = 0.5  # seconds: who reads the files may be emptying the journal of the process before this one

_LINE_BREAK = ord("\n")

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(UsageEvent)


class UsageSink(Protocol):
    """Where usage events go. :meth:`append` must make the event safe, then call ``release`` once, at once or soon.

    ``failing`` is whether it can't now: then no request is to be begun.
    """

    failing: bool

    def append(self, event: UsageEvent, release: Callable[[], None]) -> None:
        """Take the event of a finished request."""

    def close(self) -> None:
        """Write what is left."""


class FileSink:
    """Appends events as JSON lines to ``usage-<worker>-<n>.jsonl`` in a directory.

    A line is in the kernel's hands before ``release`` is called, so that killing the process loses none. Raises OSError
    where the directory can't be used.
    """

    def __init__(self, directory: Path, worker: int, loop: asyncio.AbstractEventLoop) -> None:
        self._directory = directory
        self._worker = worker
        self._loop = loop
        self._buffer = bytearray()
        self._releases: list[Callable[[], None]] = []
        self._fd = -1
        self._size = 0
        self._number = 0
        self._written = 0  # bytes of the buffer that are in the file: it stays whole until all of it is
        self._torn = False  # the file ends within a line
        self._flushing: asyncio.TimerHandle | None = None
        self._journal: Journal | None = None
        self.failing = False
        self.dropped = 0
        directory.mkdir(parents=True, exist_ok=True)
        recover(directory)
        self._journal = Journal.open(directory / journal_name(worker), wait=RECOVERED)
        self._open_next()
        if self._journal is not None:
            self._journal.begin(self._number, self._size, self._buffer)

    def append(self, event: UsageEvent, release: Callable[[], None]) -> None:
        start = len(self._buffer)
        try:
            _encoder.encode_into(event, self._buffer, -1)
        except Exception:
            # A plugin's tag that is no text: the rest of the event is the truth and must not be lost.
            del self._buffer[start:]
            tags: Any = event.tags  # compiled, it can't be read as what it is declared but is not
            event.tags = {_text(name): _text(value) for name, value in tags.items()}
            _encoder.encode_into(event, self._buffer, -1)
        self._buffer += b"\n"
        journal = self._journal
        if journal is not None and not self._releases and journal.keep(self._buffer, start):
            if self._flushing is None:
                self._flushing = self._loop.call_later(GATHER, self.flush)
            release()
            return
        if not self._releases:  # otherwise a flush is coming, also while they fail
            self._loop.call_soon(self.flush)
        self._releases.append(release)

    def flush(self) -> None:
        """Write what has gathered and let the answers go; where that fails, try again soon."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        try:
            self._write()
        except OSError as error:
            if not self.failing:
                logger.error("usage can't be recorded: requests are refused", extra={"reason": str(error)})
            self.failing = True
            self._flushing = self._loop.call_later(AGAIN, self.flush)
            return
        if self.failing:
            logger.warning("usage is recorded again", extra={"answers_held": len(self._releases)})
            self.failing = False
        releases, self._releases = self._releases, []
        for release in releases:
            release()

    def _write(self) -> None:
        buffer = self._buffer
        if self._fd < 0 or self._is_full:
            self._open_next()
            if self._journal is not None:
                self._journal.move(self._number, self._size)
        while self._written < len(buffer):
            written = os.write(self._fd, memoryview(buffer)[self._written :] if self._written else buffer)
            self._size += written
            self._written += written
            self._torn = buffer[self._written - 1] != _LINE_BREAK
        buffer.clear()
        self._written = 0
        if self._journal is not None:
            self._journal.begin(self._number, self._size, buffer)

    @property
    def _is_full(self) -> bool:
        """Whether the next line goes to the next file."""
        return self._size > SEGMENT_BYTES and not self._torn and not self._written

    def _open_next(self) -> None:
        pattern = f"usage-{self._worker}-*.jsonl"
        files = sorted(self._directory.glob(pattern))
        last = int(files[-1].stem.rpartition("-")[2]) if files else 0
        for old in files[: max(0, len(files) + 1 - SEGMENTS)]:
            logger.error("usage events removed, nobody entered them", extra={"file": old.name, "kept": SEGMENTS})
            old.unlink(missing_ok=True)
        reuse = bool(files) and not self._number and files[-1].stat().st_size < SEGMENT_BYTES
        if self._journal is None:
            reuse = False  # a process that is still ending may have it, and counts on writing to its segment alone
        number = last if reuse else last + 1
        path = self._directory / segment_name(self._worker, number)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._number = fd, number  # only now: until then a mark is one in the file before
        self._size = os.fstat(self._fd).st_size
        if self._size and _is_torn(path):
            self._buffer[:0] = b"\n"  # a process before this one was killed on a full disk, in mid-line

    # gateway.dataplane.admission.books.UsageLog

    def mark(self) -> str:
        """Where the log ends, what is still to be written included: ``<segment>:<bytes>``."""
        if self._is_full:
            return f"{self._number + 1}:{len(self._buffer)}"
        return f"{self._number}:{self._size + len(self._buffer) - self._written}"

    def since(self, mark: str, until: str | None = None) -> Iterator[UsageEvent]:
        """The written events behind a mark, oldest first; torn lines are passed over."""
        begins, ends = _place(mark), _place(until) if until is not None else (sys.maxsize, 0)
        for path in sorted(self._directory.glob(f"usage-{self._worker}-*.jsonl")):
            segment = int(path.stem.rpartition("-")[2])
            if not begins[0] <= segment <= ends[0]:
                continue
            with path.open("rb") as file:
                at = begins[1] if segment == begins[0] else 0
                file.seek(at)
                for line in file:
                    at += len(line)
                    if (segment, at) > ends:
                        return
                    with contextlib.suppress(msgspec.DecodeError):
                        yield _decoder.decode(line)

    def close(self) -> None:
        self.flush()
        if self._flushing is not None:
            self._flushing.cancel()
        if self._releases:
            # None of these answers went out whole.
            self.dropped += len(self._releases)
            logger.error("usage of unfinished answers is lost", extra={"answers": len(self._releases)})
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._journal is not None:
            self._journal.close()
            self._journal = None


def _place(mark: str) -> tuple[int, int]:
    number, _, offset = mark.partition(":")
    return int(number), int(offset)


def _is_torn(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _text(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode()
