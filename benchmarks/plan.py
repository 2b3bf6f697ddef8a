"""How much is measured."""

from __future__ import annotations

from msgspec import Struct


class Plan(Struct, frozen=True, kw_only=True):
    """Rounds, durations (seconds), rates (a second) and counts of one run."""

    rounds: int = 5
    seconds: float = 5
    connections: int = 32
    latency_rounds: int = 7
    latency_seconds: float = 2
    rate: float = 200
    stream_rate: float = 50
    memory_marks: tuple[int, ...] = (20_000, 100_000, 200_000)
    starts: int = 7
    streams: int = 2_000
    stream_events: int = 60
    stream_interval_ms: int = 1_000


FULL = Plan()
QUICK = Plan(
    rounds=2,
    seconds=2,
    latency_rounds=3,
    latency_seconds=1,
    memory_marks=(5_000, 20_000),
    starts=3,
    stream_events=8,
)
