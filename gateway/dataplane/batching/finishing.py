"""The end of a batch: its answers are written to files, in the order of its lines.

Until the files are on disk as a whole nothing says so, and nothing is forgotten: a process that dies meanwhile has only
left a file that nobody knows, and the next one writes anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from gateway.dataplane.batching.database import Database
from gateway.dataplane.batching.lines import Gentle, Spot, read_line, read_lines, unanswered_line
from gateway.dataplane.batching.records import OUTPUT, Batch, File
from gateway.dataplane.batching.uploading import new_file_id


class _Writing:
    """A file that is made when its first line comes."""

    def __init__(self, folder: Path, batch: Batch, kind: str, now: int, seconds: int) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self.record = File(new_file_id(), f"{batch.id}_{kind}.jsonl", OUTPUT, 0, now, now + seconds)

    def add(self, line: bytes) -> None:
        """One more line."""
        if self._file is None:
            path = self._folder / self.record.id
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.fdopen(os.open(path, flags, 0o600), "wb")
        self._file.write(line)
        self.record.bytes += len(line)

    def end(self) -> File | None:
        """The file, on disk; None where it got no line."""
        if self._file is None:
            return None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self.record

    def give_up(self) -> None:
        """Leave nothing behind."""
        if self._file is not None:
            self._file.close()
            (self._folder / self.record.id).unlink(missing_ok=True)


def write_answers(
    folder: Path, batch: Batch, now: int, seconds: int, longest: int, gentle: Gentle
) -> tuple[File | None, File | None]:
    """Write the answers of a batch, and for lines without one why there is none: the file of those that went well, and
    of the others. ``seconds`` is how long they are kept, ``longest`` the bytes of a line. Raises :class:`OSError` and
    :class:`~gateway.dataplane.batching.lines.Halted`.
    """
    output = _Writing(folder, batch, "output", now, seconds)
    errors = _Writing(folder, batch, "error", now, seconds)
    database = Database(folder)  # of its own: clients and the batches that run don't wait for this
    try:
        lines = None
        if batch.done + batch.failed < batch.total:
            lines = _Lines(folder / batch.input_file, longest, gentle)
        _write(database, batch, lines, output, errors, gentle)
        return output.end(), errors.end()
    except BaseException:
        output.give_up()
        errors.give_up()
        raise
    finally:
        database.close()


def _write(
    database: Database, batch: Batch, lines: _Lines | None, output: _Writing, errors: _Writing, gentle: Gentle
) -> None:
    for number, failed, answer in database.answers(batch.id):
        gentle.rest()
        if lines is not None:
            lines.fill(batch, number, errors)
        (errors if failed else output).add(answer)
    if lines is not None:
        lines.fill(batch, None, errors)


class _Lines:
    """The input, read beside the answers to find what has none."""

    def __init__(self, path: Path, longest: int, gentle: Gentle) -> None:
        self._path = path
        self._lines = read_lines(path, longest)
        self._gentle = gentle

    def fill(self, batch: Batch, until: int | None, errors: _Writing) -> None:
        """Tell of each line before number ``until``, or to the end, that it was not answered."""
        for spot, _ in self._lines:
            self._gentle.rest()
            if spot.number == until:
                return
            errors.add(self._told(batch, spot))

    def _told(self, batch: Batch, spot: Spot) -> bytes:
        return unanswered_line(batch, spot.number, read_line(self._path, spot).custom_id)
