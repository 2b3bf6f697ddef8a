"""What must be, after the load, as it was before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from tests.support.scraped import Scraped

MEGABYTE = 1_048_576
GROWTH = 0.10
"""By how much of it memory may grow under load, in the steady state, and at least:"""
SLACK = 16 * MEGABYTE
SHORT = 60.0
"""Seconds of load before which memory is not in its steady state, and may grow by three times as much: some answers
have many megabytes.
"""
OBJECTS = 3_000
"""Objects that may be there more than before: caches that fill, metrics that are counted for the first time."""
UNIX = 20
"""Unix sockets: of the loop, of the process that counts tokens, and connections to the sidecar, which are bounded."""
GAUGES = (
    "gateway_requests_in_flight",
    "gateway_open_streams",
    "gateway_upstream_connections",
    "gateway_upstream_queue_depth",
    "gateway_breaker_waiting",
)


class Census(Struct):
    """What the worker counted; see :mod:`tests.faults.soak.census`."""

    at: float
    pid: int
    tasks: dict[str, int]
    files: int
    resident: int
    objects: int
    reserved: dict[str, int] | None
    unix: int = 0


def leaks(before: Census, after: Census, gauges: Scraped) -> list[str]:
    """What is left of a load that is over."""
    found = [f"{name} is {gauges.sum(name):g}" for name in GAUGES if gauges.sum(name)]
    if (clients := gauges.sum("gateway_client_connections")) > 1:
        found.append(f"{clients:g} client connections are open, of which one asks for this")
    if before.pid != after.pid:
        found.append(f"the worker {before.pid} has died; {after.pid} took its place")
        return found
    more = {
        name: count - before.tasks.get(name, 0)
        for name, count in after.tasks.items()
        if count > before.tasks.get(name, 0)
    }
    if more:
        found.append(f"tasks: {more}")
    if after.files > before.files:
        found.append(f"file descriptors: {before.files} before, {after.files} after")
    if after.unix > UNIX:
        found.append(f"{after.unix} Unix sockets")
    if after.reserved is None:
        found.append("the counters of limits were not found")
    elif held := {key: amount for key, amount in after.reserved.items() if amount}:
        found.append(f"reserved: {held}")
    if after.objects > before.objects + OBJECTS:
        found.append(f"objects: {before.objects} before, {after.objects} after")
    return found


def growth(samples: Sequence[Census], slack: float = SLACK) -> tuple[float, list[str]]:
    """By how many bytes memory grew under load from its second quarter to its last, and whether that is too much.

    Of each quarter the least counts: an answer of many megabytes that is under way is no growth, what is lost stays.
    """
    quarter = max(1, len(samples) // 4)
    early = min(sample.resident for sample in samples[quarter : 2 * quarter] or samples)
    late = min(sample.resident for sample in samples[-quarter:])
    grown = late - early
    allowed = max(slack, early * GROWTH)
    faults = [f"memory grew from {early / MEGABYTE:.1f} to {late / MEGABYTE:.1f} MB"] if grown > allowed else []
    return grown, faults


def tidy(value: Any) -> Any:
    """Counters as plain mappings, the largest first, for JSON."""
    return dict(sorted(value.items(), key=lambda item: (-item[1], item[0])))
