"""The measures the project holds itself to, beside what a run reached."""

from __future__ import annotations

from msgspec import Struct

from benchmarks.results import Delay, Latency, Results


class Row(Struct, frozen=True):
    """One line of the table. ``share`` is what was reached over what is to be reached, 1 or less is met."""

    measure: str
    reached: str
    reach: str
    moonshot: str
    share: float | None = None


GROWTH_MB = 1.0
"""The allocator's own wavering; more than this over the last marks is growth."""
LATE_MS = 250.0


def rows(results: Results) -> list[Row]:
    """The table of a run; a measure that was not taken is left out."""
    found = [
        _ratio(results, "chat", "CPU per governed request, over nginx's", 4.0, 3.0),
        _ratio(results, "stream", "CPU per governed stream of 35 events, over nginx's", 1.5, 1.1),
        *_latency(results),
        _memory(results),
        _start(results),
        _ratio(results, "prompt", "a 400 KB prompt, CPU over nginx's", 3.0, 2.0),
        _crowd(results),
    ]
    return [row for row in found if row is not None]


def _ratio(results: Results, kind: str, title: str, reach: float, moonshot: float) -> Row | None:
    if kind not in results.closed:
        return None
    found = results.closed[kind].ratio["gateway"]
    reached = f"{found.median:.2f}× ({found.low:.2f}-{found.high:.2f})"
    return Row(title, reached, f"{reach:.1f}×", f"{moonshot:.1f}×", found.median / reach)


def _latency(results: Results) -> list[Row]:
    latency = results.latency
    if latency is None:
        return []
    return [*_delays(latency), *(_delays(latency.awake, ", processors awake") if latency.awake else [])]


def _delays(latency: Latency, how: str = "") -> list[Row]:
    whole, first = latency.added["gateway"], latency.added_first["gateway"]
    reached, told = _both(whole), f"{first.p50.median:.2f}"
    if "nginx" in latency.added:
        beside, beside_first = latency.added["nginx"], latency.added_first["nginx"]
        reached, told = f"{reached} (nginx {_both(beside)})", f"{told} (nginx {beside_first.p50.median:.2f})"
    share = max(whole.p50.median / 0.4, whole.p99.median / 2)
    title = f"added latency at {latency.rate:g} requests a second, open loop, p50 / p99{how}"
    return [
        Row(title, f"{reached} ms", "0.4 / 2 ms", "0.2 / 1 ms", share),
        Row(f"added time to first token, p50{how}", f"{told} ms", "0.5 ms", "0.2 ms", first.p50.median / 0.5),
    ]


def _both(delay: Delay) -> str:
    return f"{delay.p50.median:.2f} / {delay.p99.median:.2f}"


def _memory(results: Results) -> Row | None:
    memory = results.memory
    if memory is None:
        return None
    *_, before, last = memory.resident_mb
    title = f"resident memory of the worker after {last:,} requests"
    reached = f"{memory.resident_mb[last]:.1f} MB, {memory.growth_mb:+.1f} MB since {before:,}"
    share = max(memory.resident_mb[last] / 64, memory.growth_mb / GROWTH_MB)
    return Row(title, reached, "64 MB, no growth", "45 MB", share)


def _start(results: Results) -> Row | None:
    if results.start is None:
        return None
    took = results.start.seconds
    reached = f"{took.median:.2f} s ({took.low:.2f}-{took.high:.2f})"
    return Row("start to first answered request", reached, "1.0 s", "0.5 s", took.median)


def _crowd(results: Results) -> Row | None:
    crowd = results.crowd
    if crowd is None:
        return None
    title = f"{crowd.streams:,} open slow streams on one worker"
    reached = f"{crowd.complete:,} complete, latest event {crowd.lateness_max_ms:.0f} ms late"
    share = crowd.lateness_max_ms / LATE_MS if crowd.complete == crowd.streams else float("inf")
    return Row(title, reached, "2,000 complete, 250 ms", "10,000", share)
