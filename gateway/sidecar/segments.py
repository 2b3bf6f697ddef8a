"""The files that workers append usage events to, as their reader sees them.

``data_dir/usage/usage-<worker>-<number>.jsonl``: a worker appends to the one with the highest number alone. ``node``
beside them names the directory, so that several machines can share a ledger.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from gateway.domain.ledger.ingest import KEPT_TEXT, Batch, Line
from gateway.kernel.ids import new_id

LINES = 1_000
READ = 1_048_576  # bytes; a longer line is no event
_NODE = "node"
_NAME = re.compile(r"usage-(\d+)-(\d+)\.jsonl")


class Segment(Struct, frozen=True):
    """One file. ``newest`` is whether its worker may still append to it."""

    path: Path
    size: int
    changed: float
    newest: bool

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name


def node_of(folder: Path) -> str:
    """The name of a directory of segments; made where it has none."""
    path = folder / _NODE
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if found := path.read_text().strip():
            return found
    fresh = path.with_name(f".{new_id('node')}")
    fresh.write_text(new_id("node"))
    try:
        os.link(fresh, path)  # of two at once, one is first, and both read its name
    except FileExistsError:
        if not path.read_text().strip():
            fresh.replace(path)
    fresh.unlink(missing_ok=True)
    return path.read_text().strip()


def segments(folder: Path) -> list[Segment]:
    """Every segment, those of each worker in order."""
    found: list[tuple[int, int, Path, os.stat_result]] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name = _NAME.fullmatch(entry.name)
            if name is not None:
                with contextlib.suppress(FileNotFoundError):
                    found.append((int(name[1]), int(name[2]), Path(entry.path), entry.stat()))
    found.sort(key=lambda item: item[:2])
    last = {worker: number for worker, number, _, _ in found}
    return [Segment(path, stat.st_size, stat.st_mtime, last[worker] == number) for worker, number, path, stat in found]


def read(segment: Segment, source: str, position: int) -> list[Batch]:
    """What is complete behind ``position``, about a megabyte at most, in batches of at most 1,000 lines.

    The beginning of a line that is still being written is left for later. In a file that nobody writes any more it is
    a line that was torn.
    """
    with segment.path.open("rb") as file:
        file.seek(position)
        chunk = file.read(READ)
        whole = chunk.rfind(b"\n") + 1
        if not whole and len(chunk) == READ:
            return [_too_long(file, source, position, chunk)]
    lines: list[Line] = []
    at = position
    for text in chunk[:whole].split(b"\n")[:-1]:
        if text:
            lines.append(Line(at, text))
        at += len(text) + 1
    end = position + whole
    if not segment.newest and whole < len(chunk) < READ:
        lines.append(Line(end, chunk[whole:], "the file ends within the line"))
        end = position + len(chunk)
    return _batches(source, position, end, lines)


def _batches(source: str, begin: int, end: int, lines: list[Line]) -> list[Batch]:
    if end == begin:
        return []
    batches = []
    for start in range(0, max(1, len(lines)), LINES):
        behind = start + LINES
        until = lines[behind].position if behind < len(lines) else end
        batches.append(Batch(source, begin, until, lines[start:behind]))
        begin = until
    return batches


def _too_long(file: BinaryIO, source: str, position: int, chunk: bytes) -> Batch:
    at = position + len(chunk)
    while more := file.read(READ):
        found = more.find(b"\n")
        if found >= 0:
            at += found + 1
            break
        at += len(more)
    line = Line(position, chunk[:KEPT_TEXT], f"the line has {at - position} bytes, more than {READ}")
    return Batch(source, position, at, [line])
