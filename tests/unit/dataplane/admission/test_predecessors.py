"""What a killed worker left: its leases ended, and what it spent told by the one after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.contract.leases import StoreUnavailable, Window
from gateway.contract.policy import LimitPolicy
from gateway.contract.windows import window_bounds
from gateway.dataplane.admission.predecessors import Predecessors
from gateway.dataplane.emit import FileSink
from tests.support.plugins import usage_event

KEY = LimitPolicy("organization", "acme", "requests", 10, "year").key
NOW = 1_790_000_000  # Unix seconds, in 2026
START = int(window_bounds("year", NOW)[0])


class Store:
    """What a store of leases knows of a worker that is gone."""

    def __init__(self, known: dict[tuple[str, int], int], failures: int = 0) -> None:
        self.knows = known
        self.failures = failures
        self.retired: list[tuple[str, list[tuple[str, int]]]] = []

    async def known(self, node: str) -> dict[tuple[str, int], int]:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        return self.knows

    async def retire(self, node: str, spends: Sequence[tuple[Window, int]] = ()) -> None:
        self.retired.append((node, [(window.key, spent) for window, spent in spends]))


@pytest.mark.parametrize(("known", "spent"), [(0, 3), (2, 3), (5, 5)])
async def test_what_the_log_says_is_told(tmp_path: Path, known: int, spent: int) -> None:
    sink = FileSink(tmp_path / "usage", 0, asyncio.get_running_loop())
    path = tmp_path / "node-0.json"
    Predecessors(path, "first", sink)
    now = NOW * 10**9
    for credential in ("a", "b", "b"):
        sink.append(usage_event(credential=credential, organization="acme", started_ns=now), lambda: None)
    sink.append(usage_event(organization="other", started_ns=now), lambda: None)
    sink.flush()
    second = Predecessors(path, "second", sink)
    store = Store({(KEY, START): known}, failures=1)
    await second.settle(store)
    assert store.retired == [("first", [(KEY, spent)])]
    second.ended_well()
    third = Predecessors(path, "third", sink)
    await third.settle(store)
    assert len(store.retired) == 1, "one that ended well left nothing"
    sink.close()


async def test_a_long_log_does_not_hold_the_loop(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "usage", 0, asyncio.get_running_loop())
    Predecessors(tmp_path / "node-0.json", "first", sink)
    for _ in range(20_000):
        sink.append(usage_event(organization="acme", started_ns=NOW * 10**9), lambda: None)
    sink.flush()
    second = Predecessors(tmp_path / "node-0.json", "second", sink)
    many = {(LimitPolicy("key", f"k{number}", "requests", 1, "year").key, START): 0 for number in range(200)}
    store = Store({**many, (KEY, START): 0})
    settling = asyncio.create_task(second.settle(store))
    turns = 0
    while not settling.done():
        await asyncio.sleep(0)
        turns += 1
    await settling
    assert turns > 2, "others had their turn meanwhile"
    assert store.retired == [("first", [(KEY, 20_000)])]
    sink.close()
