"""Memory is given back after it grew, and not while it stays as it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.sidecar import trimming
from gateway.sidecar.trimming import GROWN, Trimming


class Process:
    """A process whose memory is what the test says; what is given back is 10 pages."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.given = 0
        self.set(GROWN)

    def set(self, pages: int) -> None:
        """Have so many pages in memory."""
        self.pages = pages
        self.file.write_text(f"999999 {pages} 1 1 0 1 0\n")

    def give_back(self) -> None:
        """What is called instead."""
        self.given += 1
        self.set(self.pages - 10)


async def test_it_is_given_back_when_it_has_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path / "statm")
    monkeypatch.setattr(trimming, "give_back", process.give_back)
    looks: asyncio.Queue[None] = asyncio.Queue()

    class Watched(Trimming):
        def resident(self) -> int | None:
            looks.put_nowait(None)
            return super().resident()

    async def some_looks() -> None:
        for _ in range(looks.qsize() + 5):
            await looks.get()

    async with Watched(look=0, statm=process.file):
        await some_looks()
        assert process.given == 1
        process.set(GROWN + GROWN // 2)
        await some_looks()
        assert process.given == 1
        process.set(3 * GROWN)
        await some_looks()
        assert process.given == 2


async def test_it_does_nothing_where_nobody_tells(tmp_path: Path) -> None:
    trimmer = Trimming(look=0, statm=tmp_path / "missing")
    assert trimmer.resident() is None
    async with trimmer:
        pass
