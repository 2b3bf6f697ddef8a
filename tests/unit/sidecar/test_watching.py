"""The watch goes on whatever fails, rests after long looks, and is handed on at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from gateway.domain.alerts.service import Notices
from gateway.sidecar.watching import Watching
from gateway.store.engine import Store


class Slow(Notices):
    """Looks that take so long, by their own account; closing fails."""

    def __init__(self, store: Store, took: float) -> None:
        super().__init__(store)
        self.took = took
        self.looks = 0
        self.looked = asyncio.Event()

    async def watch(self, stopping: Callable[[], bool] = lambda: False) -> float:
        self.looks += 1
        self.looked.set()
        if self.looks == 1:
            raise OSError("away")
        return self.took

    async def close(self) -> None:
        raise OSError("away")


async def test_a_failure_ends_neither_the_watch_nor_the_sidecar(
    tmp_path: object, caplog: pytest.LogCaptureFixture
) -> None:
    notices = Slow(Store.open("sqlite://", str(tmp_path)), 0.0)
    with caplog.at_level(logging.WARNING):
        async with Watching(notices, look=0.0), asyncio.timeout(30):
            while notices.looks < 3:
                notices.looked.clear()
                await notices.looked.wait()
    assert [record.message for record in caplog.records] == [
        "budgets and days are not watched now",
        "the watch over budgets was not handed on",
    ]


async def test_after_a_long_look_it_rests(tmp_path: object) -> None:
    notices = Slow(Store.open("sqlite://", str(tmp_path)), 1_000.0)
    notices.looks = 1
    watching = Watching(notices)
    for _ in range(3):
        await watching.once()
    assert notices.looks == 2
    quick = Slow(Store.open("sqlite://", str(tmp_path)), 0.0)
    quick.looks = 1
    watching = Watching(quick)
    for _ in range(3):
        await watching.once()
    assert quick.looks == 4
