"""The short version of the soak, and what its verdict is made of."""

from __future__ import annotations

from prometheus_client import Metric

from tests.faults.soak.__main__ import report
from tests.faults.soak.run import run
from tests.faults.soak.verdict import MEGABYTE, Census, growth, leaks
from tests.support.scraped import Scraped

SEED = 20_261
LEAST = 200  # requests


async def test_nothing_is_left_of_random_faults() -> None:
    outcome = await run(6.0, SEED, warm=3.0, callers=16, least=LEAST)
    assert not outcome.faults, report(outcome)
    assert outcome.told.requests >= LEAST
    assert outcome.told.whole > LEAST / 4
    assert outcome.reloads >= 1
    assert {"leaves", "half", "slow"} <= set(outcome.told.ways)


def census(**fields: object) -> Census:
    at_rest = {"at": 1.0, "pid": 7, "tasks": {"serve": 1}, "files": 30, "resident": 100 * MEGABYTE, "objects": 2_000}
    return Census(**{**at_rest, "reserved": {"key|a|tokens": 0}, **fields})  # type: ignore[arg-type]


def gauges(**values: float) -> Scraped:
    families = []
    for name, value in values.items():
        family = Metric(name, "", "gauge")
        family.add_sample(name, {}, value)
        families.append(family)
    return Scraped(families)


def test_what_is_as_it_was_is_no_leak() -> None:
    assert leaks(census(), census(at=2.0, files=29, unix=9, objects=2_900), gauges(gateway_client_connections=1)) == []


def test_each_leak_is_found() -> None:
    after = census(
        tasks={"serve": 1, "Flow.run": 2},
        files=31,
        unix=21,
        objects=9_000,
        reserved={"key|a|tokens": 5, "key|a|requests": 0},
    )
    left = gauges(gateway_requests_in_flight=2, gateway_upstream_connections=1, gateway_client_connections=3)
    assert leaks(census(), after, left) == [
        "gateway_requests_in_flight is 2",
        "gateway_upstream_connections is 1",
        "3 client connections are open, of which one asks for this",
        "tasks: {'Flow.run': 2}",
        "file descriptors: 30 before, 31 after",
        "21 Unix sockets",
        "reserved: {'key|a|tokens': 5}",
        "objects: 2000 before, 9000 after",
    ]
    assert leaks(census(), census(reserved=None), gauges()) == ["the counters of limits were not found"]
    assert leaks(census(), census(pid=8), gauges()) == ["the worker 7 has died; 8 took its place"]


def test_memory_that_grows_and_grows_is_found() -> None:
    steady = [census(resident=(100 + number % 5) * MEGABYTE) for number in range(40)]
    assert growth(steady)[1] == []
    grown, faults = growth([census(resident=(100 + number) * MEGABYTE) for number in range(80)])
    assert grown == 40 * MEGABYTE
    assert faults == ["memory grew from 120.0 to 160.0 MB"]
    large = [census(resident=(50 if number % 3 else 170) * MEGABYTE) for number in range(12)]
    assert growth(large) == (0, [])
