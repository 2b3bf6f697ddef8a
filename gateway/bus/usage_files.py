"""The files that workers append usage events to, as their reader sees them.

``data_dir/usage/usage-<worker>-<number>.jsonl``: a worker appends to the one with the highest number alone. ``node``
beside them names the directory, so that several machines can share a ledger; ``entered.json`` tells how far each file
is in the ledger as far as this machine was told.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
from msgspec import Struct

from gateway.bus.usage import Piece
from gateway.bus.usage_journal import holds
from gateway.kernel.files import replace
from gateway.kernel.ids import new_id

LINES = 1_000
READ = 1_048_576  # bytes; a longer line is no event
KEPT_TEXT = 65_536  # bytes of a line that can't be one
_NODE = "node"
_POSITIONS = "entered.json"
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


class Positions(Struct, frozen=True):
    """How far each file is in the ledger, in bytes, and who says so: who read the ``files``, or the ``stream``."""

    by: Literal["files", "stream"] = "files"
    files: dict[str, int] = {}


_positions = msgspec.json.Decoder(Positions)


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


def positions_of(folder: Path) -> Positions:
    """How far the files are in the ledger; nothing where that was not told, or can't be read."""
    try:
        return _positions.decode((folder / _POSITIONS).read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return Positions()


def keep_positions(folder: Path, by: Literal["files", "stream"], files: Mapping[str, int]) -> None:
    """Replace what is kept; who reads it meanwhile gets one or the other."""
    replace(folder / _POSITIONS, msgspec.json.encode(Positions(by, dict(sorted(files.items())))))


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


def pieces(segment: Segment, begin: int, end: int | None = None, size: int = READ) -> list[Piece]:
    """What is complete behind ``begin``, until ``end`` if that is given: about a megabyte, in pieces of at most 1,000
    lines and ``size`` bytes, but of a longer line by itself.

    The beginning of a line that is still being written, or the rest of which is in a journal, is left for later. In a
    file that nobody writes any more it is a line that was torn. Raises FileNotFoundError.
    """
    with segment.path.open("rb") as file:
        file.seek(begin)
        data = file.read(READ if end is None else min(READ, end - begin))
        whole = data.rfind(b"\n") + 1
        if not whole and len(data) == READ:
            return [_too_long(file, begin, data)]
    found = _cut(data, whole, begin, size)
    stays = segment.newest and end is None
    if not stays and whole < len(data) < READ and (end is not None or not _grows(segment.path, begin + len(data))):
        found.append(Piece(begin + whole, begin + len(data), data[whole:], "the file ends within the line"))
    return found


def remove(segment: Segment) -> bool:
    """Remove a file all of which is in the ledger, unless more of it has come or is still to come; whether it is gone.

    What a killed worker left in its journal may be written to a file that was read whole, at any time.
    """
    with contextlib.suppress(FileNotFoundError):
        if _grows(segment.path, segment.size):
            return False
        segment.path.unlink()
    return True


def _grows(path: Path, read: int) -> bool:
    """Whether more comes, or has come meanwhile, of a file that was read until there."""
    # In this order: what a journal does not hold any more is in the file.
    return holds(path.parent, path.name) or path.stat().st_size > read


def _cut(data: bytes, whole: int, begin: int, size: int) -> list[Piece]:
    found = []
    at = 0
    while at < whole:
        until = data.rfind(b"\n", at, min(at + size, whole)) + 1 or data.find(b"\n", at) + 1
        if data.count(b"\n", at, until) > LINES:
            until = at
            for _ in range(LINES):
                until = data.find(b"\n", until) + 1
        found.append(Piece(begin + at, begin + until, data[at:until]))
        at = until
    return found


def _too_long(file: BinaryIO, begin: int, data: bytes) -> Piece:
    at = begin + len(data)
    while more := file.read(READ):
        found = more.find(b"\n")
        if found >= 0:
            at += found + 1
            break
        at += len(more)
    return Piece(begin, at, data[:KEPT_TEXT], f"the line has {at - begin} bytes, more than {READ}")
