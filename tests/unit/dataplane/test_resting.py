"""A worker that rests gives back what a burst has left."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.dataplane import resting
from gateway.dataplane.resting import AFTER, BUSY, GROWN, MUCH, PAUSE, Resting

BURST = """
import sys

from gateway.kernel.memory import keep_freed, resident
from gateway.dataplane.resting import AFTER, Resting

keep_freed()
resting = Resting()
before = resident()
burst = [bytes(20_000) for _ in range(4_000)]
kept = burst[::400]
del burst
after = resident()
told = [resting.look(int(sys.argv[1])) for _ in range(AFTER)]
print(after - before, resident() - before, told.count(True))
"""


class Process:
    """One whose memory a test makes up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages: int | None = 10_000
        self.least = 10_000
        self.trims = 0
        monkeypatch.setattr(resting, "trim", self.trim)
        self.resting = Resting(lambda: self.pages)

    def trim(self) -> None:
        self.trims += 1
        self.pages = self.least

    def look(self, active: int = 0, times: int = AFTER) -> list[bool]:
        return [self.resting.look(active) for _ in range(times)]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    return Process(monkeypatch)


@pytest.mark.parametrize("active", ["0", "1"])
def test_the_memory_of_a_burst_goes_back_to_the_system(active: str) -> None:
    ran = subprocess.run([sys.executable, "-c", BURST, active], capture_output=True, text=True, check=True)
    grown, left, trims = (int(word) for word in ran.stdout.split())
    assert grown > 4 * GROWN, "much of what is freed is kept while there may be more to come"
    assert left < GROWN
    assert trims == 1


def test_not_while_anything_is_under_way(process: Process) -> None:
    process.pages = 10_000 + MUCH - 1
    assert not any(process.look(active=1, times=50))
    assert not any(process.look(times=AFTER - 1))
    assert not any(process.look(active=1, times=1)), "the rest begins anew"
    assert not any(process.look(times=AFTER - 1))
    assert process.look(times=1) == [True]


def test_much_goes_back_under_load_too(process: Process) -> None:
    process.pages = 10_000 + MUCH
    assert process.look(active=1, times=BUSY) == [False] * (BUSY - 1) + [True]
    assert process.pages == 10_000
    process.pages = 10_000 + 2 * MUCH
    assert process.look(active=1, times=PAUSE) == [False] * (PAUSE - 1) + [True]


def test_a_body_that_was_large_for_a_moment_is_no_reason(process: Process) -> None:
    for _ in range(20):
        process.pages = 10_000 + 2 * MUCH
        assert not any(process.look(active=1, times=BUSY - 1))
        process.pages = 10_000
        assert not any(process.look(active=1, times=1))


def test_what_is_in_use_under_load_is_looked_for_once(process: Process) -> None:
    process.pages = process.least = 10_000 + 3 * MUCH
    assert process.look(active=1, times=100).count(True) == 1
    process.pages = process.least = 10_000
    assert process.look(active=1, times=1) == [False]
    process.pages = 10_000 + MUCH
    assert process.look(active=1, times=BUSY).count(True) == 1


def test_little_is_not_worth_it(process: Process) -> None:
    process.pages = 10_000 + GROWN - 1
    assert not any(process.look(times=50))
    process.pages += 1
    assert process.look().count(True) == 1


def test_what_can_not_be_given_back_is_tried_once(process: Process) -> None:
    process.pages = process.least = 10_000 + 3 * GROWN
    assert process.look(times=50).count(True) == 1
    process.pages += GROWN
    assert process.look(times=50).count(True) == 1


def test_nothing_happens_where_nobody_tells(process: Process) -> None:
    process.pages = None
    assert not any(process.look(times=50))
    assert not any(process.look(active=1, times=50))
    assert process.trims == 0
