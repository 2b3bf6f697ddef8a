"""``python -m tests.faults.soak``: a soak, a small report, and the same as JSON; exit code 1 where anything is left."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
from pathlib import Path

import msgspec

from tests.faults.soak.run import Outcome, run
from tests.faults.soak.verdict import MEGABYTE, tidy


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long, after the warm-up")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--callers", type=int, default=24, help="clients at once")
    parser.add_argument("--json", type=Path, default=Path("build/soak.json"), help="where the report goes as JSON")
    options = parser.parse_args()
    print(f"soak: {options.seconds:g} s, seed {options.seed}", file=sys.stderr, flush=True)
    outcome = asyncio.run(
        run(options.seconds, options.seed, callers=options.callers, say=lambda text: print(text, file=sys.stderr))
    )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(msgspec.to_builtins(outcome), indent=1))
    print(report(outcome))
    return 1 if outcome.faults else 0


def report(outcome: Outcome) -> str:
    """In a few lines."""
    told, before, after = outcome.told, outcome.before, outcome.after
    lines = [
        f"seed {outcome.seed}, {outcome.seconds:.0f} s, {told.requests} requests, {outcome.reloads} reloads",
        f"ways   {tidy(told.ways)}",
        f"ends   {tidy(told.ends)}",
        f"memory {before.resident / MEGABYTE:.1f} MB before, {after.resident / MEGABYTE:.1f} MB after,"
        f" under load {outcome.grown / MEGABYTE:+.1f} MB from the second quarter to the last",
        f"       {' '.join(f'{point / MEGABYTE:.0f}' for point in outcome.resident)} MB under load",
        f"files  {before.files} before, {after.files} after, and {before.unix} and {after.unix} Unix sockets",
        f"tasks  {sum(before.tasks.values())} before, {sum(after.tasks.values())} after",
        f"objects {before.objects} before, {after.objects} after",
        *(f"FAULT  {fault}" for fault in outcome.faults),
        "nothing is left" if not outcome.faults else f"{len(outcome.faults)} faults",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
