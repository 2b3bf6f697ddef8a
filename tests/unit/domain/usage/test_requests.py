"""Requests are counted by the lines of the usage log, each once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.domain.usage.requests import RequestCount


def write(data_dir: Path, name: str, lines: int, mode: str = "a") -> Path:
    """Append lines to a file of the log."""
    path = data_dir / "usage" / name
    path.parent.mkdir(exist_ok=True)
    with path.open(mode) as file:
        file.write('{"id": 1}\n' * lines)
    return path


async def test_lines_are_counted_once_as_they_come(tmp_path: Path) -> None:
    count = RequestCount(tmp_path)
    assert await count.total() == 0
    write(tmp_path, "usage-0-00000001.jsonl", 3)
    write(tmp_path, "usage-1-00000001.jsonl", 4)
    assert await count.total() == 7
    write(tmp_path, "usage-0-00000001.jsonl", 2)
    write(tmp_path, "other.jsonl", 100)
    assert await count.total() == 9
    assert await RequestCount(tmp_path).total() == 9


async def test_a_line_counts_when_it_is_whole(tmp_path: Path) -> None:
    count = RequestCount(tmp_path)
    path = write(tmp_path, "usage-0-00000001.jsonl", 1)
    with path.open("a") as file:
        file.write('{"id"')
    assert await count.total() == 1
    with path.open("a") as file:
        file.write(": 2}\n")
    assert await count.total() == 2


async def test_files_that_are_cut_off_stay_counted(tmp_path: Path) -> None:
    count = RequestCount(tmp_path)
    first = write(tmp_path, "usage-0-00000001.jsonl", 3)
    assert await count.total() == 3
    first.unlink()
    write(tmp_path, "usage-0-00000002.jsonl", 2)
    assert await count.total() == 5


async def test_many_who_ask_at_once_count_nothing_twice(tmp_path: Path) -> None:
    count = RequestCount(tmp_path)
    write(tmp_path, "usage-0-00000001.jsonl", 200_000)
    assert await asyncio.gather(*(count.total() for _ in range(8))) == [200_000] * 8
