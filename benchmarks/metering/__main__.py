"""The command: ``python -m benchmarks.metering``."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from benchmarks import tools
from benchmarks.metering import filling, results
from benchmarks.metering.ingest import Ingestion
from benchmarks.metering.queries import Read
from benchmarks.results import machine
from gateway.store.engine import Store

T = TypeVar("T")
DATABASES = ("sqlite", "postgresql")


@click.command()
@click.option("--entries", default=10_000_000, show_default=True, help="Entries of the ledger in SQLite.")
@click.option("--postgres-entries", default=1_000_000, show_default=True, help="Entries of the one in PostgreSQL.")
@click.option("--events", default=100_000, show_default=True, help="Events that are entered each time.")
@click.option("--times", default=40, show_default=True, help="How often each operation is asked.")
@click.option("--only", type=click.Choice(DATABASES), help="With this database only.")
@click.option(
    "--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="For data; removed later."
)
@click.option("--save/--no-save", default=True, show_default=True, help="Write the results and the page.")
def main(
    entries: int, postgres_entries: int, events: int, times: int, only: str | None, folder: Path | None, save: bool
) -> None:
    """Measure the ledger: events entered into an empty one, then into a filled one, then how it is read.

    Ten million entries take about ten minutes and 7 GB of disk.
    """
    found = _begin()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as path:
        if only != "postgresql":
            found.databases["sqlite"] = measure(Path(path), (None, None), entries, events, times)
        if only != "sqlite":
            # From the development packages, as the tests have it: who measures SQLite alone needs none.
            from tests.support.postgres import running_postgres  # noqa: PLC0415

            with running_postgres() as server:
                urls = [server.url(asyncio.run(server.create())) for _ in range(2)]
                found.databases["postgresql"] = measure(Path(path), (urls[0], urls[1]), postgres_entries, events, times)
    found.load = os.getloadavg()[1]
    click.echo(results.tables(found))
    if save:
        results.save(found)


def measure(
    folder: Path, urls: tuple[str | None, str | None], entries: int, events: int, times: int
) -> results.Database:
    """One database, step by step: ``urls`` are of two that are empty. Each measure is in a process of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as path:
        empty = _child("ingest", Path(path), urls[0], Ingestion, "--events", str(events))
    with tempfile.TemporaryDirectory(dir=folder) as path:
        asyncio.run(_fill(urls[1], path, entries))
        filled = _child("ingest", Path(path), urls[1], Ingestion, "--events", str(events))
        read = _child("queries", Path(path), urls[1], Read, "--times", str(times))
    return results.Database(entries + events, empty, filled, read)


async def _fill(database_url: str | None, folder: str, entries: int) -> None:
    store, began = Store.open(database_url, folder), time.perf_counter()
    try:
        await store.migrate()
        await filling.fill(store, entries, int(time.time()))
    finally:
        await store.close()
    click.echo(f"{entries:,} entries were made in {time.perf_counter() - began:.0f} s", err=True)


def _child(module: str, folder: Path, database_url: str | None, form: type[T], *options: str) -> T:
    command = [sys.executable, "-m", f"benchmarks.metering.{module}", str(folder), *options]
    if database_url is not None:
        command += ["--database-url", database_url]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=form)


def _begin() -> results.Found:
    commit = ["git", "-C", str(tools.ROOT), "rev-parse", "--short", "HEAD"]
    told = subprocess.run(commit, capture_output=True, text=True, check=False).stdout.strip()
    made = datetime.now(UTC).strftime("%Y-%m-%d")
    return results.Found(made, machine(), told or "unknown", {})


if __name__ == "__main__":
    main()
