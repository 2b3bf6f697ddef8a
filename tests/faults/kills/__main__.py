"""``python -m tests.faults.kills``: the long runs, and a table of them; exit code 1 where a rule was broken."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys

from tests.faults.kills.run import run
from tests.faults.kills.stand import DEPLOYMENTS
from tests.faults.kills.table import faults, table


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many processes are killed in each run")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("deployments", nargs="*", choices=[[], *DEPLOYMENTS], help="which of them; absent: all")
    options = parser.parse_args()
    outcomes = []
    for name in options.deployments or DEPLOYMENTS:
        print(f"{name}: {options.kills} kills, seed {options.seed}", file=sys.stderr, flush=True)
        outcome = asyncio.run(run(name, options.kills, options.seed, long=True))
        outcomes.append(outcome)
        if outcome.verdict.faults:
            print(faults(outcome), outcome.log, sep="\n", file=sys.stderr, flush=True)
    print(table(outcomes))
    return 1 if any(outcome.verdict.faults for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
