"""The command: ``python -m benchmarks.admission``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from benchmarks import tools
from benchmarks.admission import flood, held

SIZES = (10, 1_000, 100_000, 1_000_000)


@click.command()
@click.option("--only", type=click.Choice(["held", "flood"]), help="Take this measure only.")
@click.option("--keys", type=click.IntRange(min=1), multiple=True, help="Credentials in all; may be repeated.")
@click.option("--cache", default=50_000, show_default=True, help="Credentials that are held at most.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of the flood.")
@click.option("--seconds", default=3.0, show_default=True, help="Seconds of each round.")
def main(only: str | None, keys: tuple[int, ...], cache: int, rounds: int, seconds: float) -> None:
    """Measure what admission costs, and print it."""
    if only != "flood":
        print("a decision on a credential that is held, five limits, CPU µs; without limits; bytes each held")
        for found in held.run(keys or SIZES, cache):
            print(
                f"{found.keys:>9,} keys, {found.held:>7,} held: {found.us:5.2f}; {found.bare_us:5.2f};"
                f" {found.bytes_each:,.0f}"
            )
    if only != "held":
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            result = flood.measure(Path(folder), [tools.gateway_command()], rounds, seconds)
        low, middle, high = result.ratio
        print(f"a made-up key refused over a request served: {middle:.0%} ({low:.0%} to {high:.0%}) of its CPU")


if __name__ == "__main__":
    main()
