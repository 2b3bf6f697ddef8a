"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

import click
from msgspec.structs import replace

from benchmarks import peers, results, table, tools
from benchmarks.bench import Bench
from benchmarks.child import StartError
from benchmarks.measures import closed, crowd, latency, memory, start
from benchmarks.openloop import LatencyError
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.verify import WrongAnswerError
from benchmarks.wrk import LoadError

LAST = tools.CACHE / "last.json"
MEASURES = (*closed.BODIES, "latency", "memory", "start", "crowd")
FAILURES = (StartError, LoadError, LatencyError, WrongAnswerError, crowd.CrowdError, tools.MissingToolError)


def run(bench: Bench, names: tuple[str, ...]) -> results.Results:
    """Take the named measures one after the other."""
    found = results.begin({name: peers.OPTIONAL[name].version() for name in bench.peers if name != "plain"})
    kinds = [name for name in names if name in closed.BODIES]
    if kinds:
        found.closed = closed.measure(bench, kinds)
    if "latency" in names:
        found.latency = latency.measure(bench)
    if "memory" in names:
        found.memory = memory.measure(bench)
    if "start" in names:
        found.start = start.measure(bench)
    if "crowd" in names:
        found.crowd = crowd.measure(bench)
    return found


def plan(quick: bool, rounds: int | None, seconds: float | None, streams: int | None) -> Plan:
    """The plan the options ask for."""
    chosen = QUICK if quick else FULL
    if rounds is not None:
        chosen = replace(chosen, rounds=rounds, latency_rounds=rounds)
    if seconds is not None:
        chosen = replace(chosen, seconds=seconds)
    if streams is not None:
        chosen = replace(chosen, streams=streams)
    return chosen


def _ended(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


@click.command()
@click.option("--quick", is_flag=True, help="Everything in under two minutes; the figures are rough.")
@click.option("--only", multiple=True, type=click.Choice(MEASURES), help="Take this measure only; may be repeated.")
@click.option("--rounds", type=click.IntRange(min=1), help="Rounds of each closed and open loop.")
@click.option("--seconds", type=click.FloatRange(min=1), help="Seconds of each closed-loop round.")
@click.option("--streams", type=click.IntRange(min=1), help="Slow streams open at once, 2000 unless told.")
@click.option("--portkey", is_flag=True, help="Measure Portkey's gateway beside (installs it from npm).")
@click.option("--litellm", is_flag=True, help="Measure LiteLLM's proxy beside (installs it from PyPI).")
@click.option("--compiled", is_flag=True, help="Measure what make compiled built, and the plain gateway beside it.")
@click.option("--gateway", help="The gateway command to measure; the one in this environment unless told.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Where to write the results.")
def main(
    quick: bool,
    only: tuple[str, ...],
    rounds: int | None,
    seconds: float | None,
    streams: int | None,
    portkey: bool,
    litellm: bool,
    compiled: bool,
    gateway: str | None,
    out: Path | None,
) -> None:
    """Measure the gateway beside nginx proxy_pass, on loopback.

    A full run writes benchmarks/results/latest.json, the tables of the README files and the plot. A quick or partial
    run only prints, and leaves its figures in .cache/bench/last.json.
    """
    signal.signal(signal.SIGTERM, _ended)
    others = [name for name, chosen in (("plain", compiled), ("portkey", portkey), ("litellm", litellm)) if chosen]
    whole = not quick and not only
    try:
        command = [gateway or (tools.compiled_command() if compiled else tools.gateway_command())]
        found = run(Bench(plan(quick, rounds, seconds, streams), command, others), only or MEASURES)
        found.build = "compiled" if compiled else "plain"
    except FAILURES as error:
        raise click.ClickException(str(error)) from error
    results.write(found, out or (results.LATEST if whole else LAST))
    if whole and out is None:
        # Only here: the plot needs matplotlib, and a quick look at some figures should not.
        from benchmarks import report  # noqa: PLC0415

        report.publish(found)
    click.echo("\n\n".join(part for part in (table.goals(found), table.peers(found), table.notes(found)) if part))


if __name__ == "__main__":
    main()
