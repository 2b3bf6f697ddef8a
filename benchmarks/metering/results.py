"""What a run found: as JSON, and as Markdown tables."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct, json

from benchmarks.metering.ingest import Ingestion
from benchmarks.metering.queries import Read, Times
from benchmarks.results import Machine

LATEST = Path(__file__).parents[1] / "results" / "metering.json"
PAGE = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- metering -->", "<!-- /metering -->"
_TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
RATES = {"sqlite": 10_000, "postgresql": 5_000}
"""Events that are to be entered a second, of a sidecar's core."""
SUMS_MS, PAGES_MS = 100, 50
"""What 95 of a hundred answers are to take at most, of sums and of pages of history."""


class Append(Struct, frozen=True):
    """What an append to the outbox costs a worker, in microseconds of CPU."""

    rate: int
    target_us: float
    median_us: float
    worst_us: float


class Memory(Struct, frozen=True):
    """The most a sidecar held resident in each part of a hard run, in MB of 2**20 bytes."""

    peaks: dict[str, int]
    bound: int


class Database(Struct, frozen=True):
    """One database: its entries when it was read, and each measure."""

    entries: int
    empty: Ingestion
    filled: Ingestion
    read: Read
    memory: Memory


class Found(Struct):
    """A whole run. ``load`` is how many processes waited for a core on the average of its last fifteen minutes."""

    made: str
    machine: Machine
    commit: str
    databases: dict[str, Database]
    append: Append | None = None
    load: float = 0.0


def save(found: Found) -> None:
    """Write the JSON, and the tables into the page."""
    LATEST.write_bytes(json.format(json.encode(found), indent=2) + b"\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, behind = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{tables(found)}\n{END}{behind}")


def tables(found: Found) -> str:
    """Everything as Markdown."""
    return "\n\n".join((_reached(found), _reading(found), _where(found)))


def _reached(found: Found) -> str:
    lines = ["| | goal | reached |", "|---|--:|--:|"]
    if (append := found.append) is not None:
        goal, reached = f"{append.target_us:.0f} µs", f"{append.median_us:.1f} µs (worst round {append.worst_us:.1f})"
        lines.append(f"| append, CPU of a request at {append.rate:,} a second | {goal} | {reached} |")
    for name, database in found.databases.items():
        title = _TITLES[name]
        for before, took in ((0, database.empty), (database.entries - database.filled.events, database.filled)):
            rate, passed = took.events / took.cpu_seconds, took.events / took.seconds
            lines.append(
                f"| {title}, events entered at {before:,} | {RATES[name]:,} a second of CPU |"
                f" {rate:,.0f} ({passed:,.0f} a second; {took.peak_mb:.0f} MB) |"
            )
        for kind, goal_ms in (("sums", SUMS_MS), ("pages", PAGES_MS)):
            slowest = _slowest(database, kind)
            lines.append(
                f"| {title}, slowest {kind}, p95 | {goal_ms} ms | {slowest.p95_ms:.0f} ms ({slowest.cpu_p95_ms:.0f}) |"
            )
        peaks = ", ".join(f"{part} {peak}" for part, peak in database.memory.peaks.items())
        lines.append(f"| {title}, a sidecar's memory | {database.memory.bound} MB | {peaks} |")
    return "\n".join(lines)


def _slowest(database: Database, kind: str) -> Times:
    every = [item for times in database.read.operations.values() for item in times.items()]
    return max((t for name, t in every if _goal(name) == (PAGES_MS if kind == "pages" else SUMS_MS)), key=_p95)


def _p95(times: Times) -> float:
    return times.p95_ms


def _goal(operation: str) -> int:
    return PAGES_MS if operation.startswith("history") else SUMS_MS


def _reading(found: Found) -> str:
    names = list(found.databases)
    asked = {who: list(times) for who, times in found.databases[names[0]].read.operations.items()}
    columns = [(name, who) for name in names for who in asked]
    heads = [f"{_TITLES[name]}, {who}" for name, who in columns]
    lines = [
        f"| p50, p95 ms (of CPU) | goal, p95 | {' | '.join(heads)} |",
        f"|---|--:|{'--:|' * len(columns)}",
    ]
    for operation in next(iter(asked.values())):
        cells = [
            _told(found.databases[name].read.operations[who][operation], _goal(operation)) for name, who in columns
        ]
        lines.append(f"| {operation} | {_goal(operation)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _told(times: Times, goal: int) -> str:
    passed = f"{times.p50_ms:.0f}, {times.p95_ms:.0f}"
    shown = passed if times.p95_ms <= goal else f"**{passed}**"
    return f"{shown} ({times.cpu_p50_ms:.0f}, {times.cpu_p95_ms:.0f})"


def _where(found: Found) -> str:
    machine = found.machine
    sizes = ", ".join(f"{database.entries:,} entries in {_TITLES[name]}" for name, database in found.databases.items())
    peaks = ", ".join(f"{database.read.peak_mb:.0f} MB" for database in found.databases.values())
    return (
        f"What misses its goal is bold. Measured {found.made} on {machine.cores} cores of {machine.processor}"
        f" ({machine.system}), commit {found.commit}, with {found.load:.1f} processes on the average that ran or waited"
        f" for a core. {sizes}; the process that read them held at most {peaks}."
    )
