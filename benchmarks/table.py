"""The results as Markdown tables, put between markers of a page."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.goals import rows
from benchmarks.results import Closed, Results

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
KINDS = {
    "chat": "a short answer",
    "stream": "a stream of 35 events, one after the other",
    "paced": "a stream of 35 events, 5 ms apart",
    "prompt": "a prompt of 400 KB",
}

BUILDS = {
    "compiled": "`gateway` is what `make compiled` builds, as in the container image; `plain` is the same from source.",
    "plain": "`gateway` is run from source, not compiled.",
}

CLIENTS = {
    True: "The latencies' client was scheduled ahead of what it measured.",
    False: "The latencies' client competed for the cores with what it measured.",
}


def goals(results: Results) -> str:
    """What was reached beside what is to be reached."""
    lines = ["| measure | reached | goal | stretch goal |", "|---|---|---|---|"]
    lines += [f"| {row.measure} | {row.reached} | {row.reach} | {row.moonshot} |" for row in rows(results)]
    return "\n".join(lines)


def peers(results: Results) -> str:
    """Every peer's figures under each kind of load; empty where none was measured."""
    if not results.closed:
        return ""
    lines = [
        "| load | peer | CPU µs each | over nginx | each second | p50 ms | p99 ms | resident MB |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for kind, closed in results.closed.items():
        lines += [_peer(KINDS[kind], name, closed) for name in closed.rounds]
    return "\n".join(lines)


def _peer(title: str, name: str, closed: Closed) -> str:
    loads, ratio = closed.rounds[name], closed.ratio[name]
    figures = [
        f"{statistics.median(load.cpu_us for load in loads):,.0f}",
        f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})",
        f"{statistics.median(load.rate for load in loads):,.0f}",
        f"{statistics.median(load.p50_ms for load in loads):.2f}",
        f"{statistics.median(load.p99_ms for load in loads):.2f}",
        f"{closed.resident_mb[name]:.0f}",
    ]
    return f"| {title} | {name} | {' | '.join(figures)} |"


def notes(results: Results) -> str:
    """What it was measured on."""
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    told = f"Measured {results.made} on {machine.cores} cores of {machine.processor} ({machine.system}): {versions}."
    ahead = "" if results.latency is None else f" {CLIENTS[results.latency.client_ahead]}"
    return f"{told} {BUILDS[results.build]}{ahead}"


def put(page: Path, text: str) -> bool:
    """Replace what stands between the markers of ``page``; tells whether it has them."""
    old = page.read_text() if page.exists() else ""
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return False
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    return True
