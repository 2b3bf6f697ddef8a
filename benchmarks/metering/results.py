"""What a run found: as JSON, and as Markdown tables."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct, json

from benchmarks.metering.ingest import Ingestion
from benchmarks.metering.queries import Read
from benchmarks.results import Machine

LATEST = Path(__file__).parents[1] / "results" / "metering.json"
PAGE = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- metering -->", "<!-- /metering -->"
_TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


class Database(Struct, frozen=True):
    """One database: its entries when it was read, and each measure."""

    entries: int
    empty: Ingestion
    filled: Ingestion
    read: Read


class Found(Struct):
    """A whole run. ``load`` is how many processes waited for a core on the average of its last five minutes."""

    made: str
    machine: Machine
    commit: str
    databases: dict[str, Database]
    load: float = 0.0


def save(found: Found) -> None:
    """Write the JSON, and the tables into the page."""
    LATEST.write_bytes(json.format(json.encode(found), indent=2) + b"\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, behind = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{tables(found)}\n{END}{behind}")


def tables(found: Found) -> str:
    """Everything as Markdown."""
    return "\n\n".join((_ingestion(found), _reading(found), _where(found)))


def _ingestion(found: Found) -> str:
    lines = ["| events entered | ledger | a second of CPU | a second | peak MB |", "|---|--:|--:|--:|--:|"]
    for name, database in found.databases.items():
        for before, took in ((0, database.empty), (database.entries - database.filled.events, database.filled)):
            rate, passed = took.events / took.cpu_seconds, took.events / took.seconds
            lines.append(f"| {_TITLES[name]} | {before:,} | {rate:,.0f} | {passed:,.0f} | {took.peak_mb:.0f} |")
    return "\n".join(lines)


def _reading(found: Found) -> str:
    names = list(found.databases)
    asked = {who: list(times) for who, times in found.databases[names[0]].read.operations.items()}
    columns = [(name, who) for name in names for who in asked]
    heads = [f"{_TITLES[name]}, {who}" for name, who in columns]
    lines = [f"| p95 ms (of CPU) | {' | '.join(heads)} |", f"|---|{'--:|' * len(columns)}"]
    for operation in next(iter(asked.values())):
        cells = [found.databases[name].read.operations[who][operation] for name, who in columns]
        told = [f"{times.p95_ms:.0f} ({times.cpu_p95_ms:.0f})" for times in cells]
        lines.append(f"| {operation} | {' | '.join(told)} |")
    return "\n".join(lines)


def _where(found: Found) -> str:
    machine = found.machine
    sizes = ", ".join(f"{database.entries:,} entries in {_TITLES[name]}" for name, database in found.databases.items())
    peaks = ", ".join(f"{database.read.peak_mb:.0f} MB" for database in found.databases.values())
    return (
        f"Measured {found.made} on {machine.cores} cores of {machine.processor} ({machine.system}), commit"
        f" {found.commit}, with {found.load:.1f} processes on the average that ran or waited for a core. {sizes}; the"
        f" process that read them held at most {peaks}."
    )
