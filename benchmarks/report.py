"""Put a run's results into the pages: ``python -m benchmarks.report [--json FILE]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import plot, results, table, tools

HERE = Path(__file__).parent


def publish(found: results.Results) -> None:
    """Write the tables into ``benchmarks/README.md`` and ``README.md``, and the plot beside the JSON."""
    goals, notes = table.goals(found), table.notes(found)
    table.put(tools.ROOT / "README.md", f"{goals}\n\n{notes}")
    picture = f"![What was reached, as a share of what is to be reached]({_plot(found)})"
    table.put(HERE / "README.md", "\n\n".join((goals, picture, table.peers(found), notes)))


def _plot(found: results.Results) -> str:
    plot.draw(found, HERE / "results" / "latest.svg")
    return "results/latest.svg"


def main() -> None:
    """Parse the command line and publish."""
    parser = argparse.ArgumentParser(description="Write the benchmark's tables and plot from its JSON.")
    parser.add_argument("--json", type=Path, default=results.LATEST)
    publish(results.read(parser.parse_args().json))


if __name__ == "__main__":
    main()
