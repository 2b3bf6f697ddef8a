"""The command: ``python -m benchmarks.metering``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
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
_FILLED = "filled.json"
_BEGAN = time.perf_counter()


@click.command()
@click.option("--entries", default=10_000_000, show_default=True, help="Entries of the ledger in SQLite.")
@click.option("--postgres-entries", default=10_000_000, show_default=True, help="Entries of the one in PostgreSQL.")
@click.option("--events", default=100_000, show_default=True, help="Events that are entered each time.")
@click.option("--times", default=40, show_default=True, help="How often each operation is asked.")
@click.option("--only", type=click.Choice(DATABASES), help="With this database only.")
@click.option("--reuse", type=click.Path(file_okay=False, path_type=Path), help="Keep what is filled here, and use it.")
@click.option("--fill-only", is_flag=True, help="With --reuse: fill what is not there yet, and measure nothing.")
@click.option("--save/--no-save", default=True, show_default=True, help="Write the results and the page.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON too.")
def main(
    entries: int,
    postgres_entries: int,
    events: int,
    times: int,
    only: str | None,
    reuse: Path | None,
    fill_only: bool,
    save: bool,
    as_json: bool,
) -> None:
    """Measure the ledger: events appended, entered into an empty and into a filled one, how that is read, and memory.

    Ten million entries take about ten minutes and 7 GB of disk to fill in SQLite, twice that in PostgreSQL; measuring
    takes five minutes each.
    """
    found = _begin()
    with _folder(reuse) as folder:
        databases = [name for name in DATABASES if only in (None, name)]
        for name in databases:
            _filled(name, folder / name, entries if name == "sqlite" else postgres_entries)
            if not fill_only:
                with _databases(name, folder / name) as urls:
                    found.databases[name] = measure(name, folder / name, urls, events, times)
    if fill_only:
        return
    say("the outbox's append")
    found.append = _child(["append"], results.Append)
    found.load = os.getloadavg()[2]
    click.echo(results.tables(found))
    if as_json:
        click.echo(msgspec.json.encode(found))
    if save:
        results.save(found)


def measure(name: str, folder: Path, urls: tuple[str | None, str | None], events: int, times: int) -> results.Database:
    """One database, step by step, each measure in a process of its own. ``urls`` are of the filled and an empty one."""
    filled_url, empty_url = urls
    say(f"{name}: {events:,} events into an empty ledger")
    with tempfile.TemporaryDirectory(dir=folder) as path:
        empty = _child(["ingest", path, "--events", str(events)], Ingestion, empty_url)
    before = asyncio.run(_entries(filled_url, folder))
    say(f"{name}: {events:,} events into a ledger of {before:,} entries")
    filled = _child(["ingest", str(folder), "--events", str(events)], Ingestion, filled_url)
    shutil.rmtree(folder / "usage", ignore_errors=True)
    say(f"{name}: every operation {times} times, by two callers")
    read = _child(["queries", str(folder), "--times", str(times)], Read, filled_url)
    say(f"{name}: a sidecar's memory")
    memory = _child(["memory", "--json", "--events", str(events)], results.Memory, empty_url, ends_with=(0, 1))
    return results.Database(before + events, empty, filled, read, memory)


def say(what: str) -> None:
    """A line of progress."""
    click.echo(f"{time.perf_counter() - _BEGAN:6.0f} s  {what}", err=True)


@contextlib.contextmanager
def _folder(reuse: Path | None) -> Iterator[Path]:
    if reuse is not None:
        reuse.mkdir(parents=True, exist_ok=True)
        yield reuse
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as path:
        os.chmod(path, 0o755)  # PostgreSQL runs as nobody where this runs as root
        yield Path(path)


@contextlib.contextmanager
def _databases(name: str, folder: Path, *, filling: bool = False) -> Iterator[tuple[str | None, str | None]]:
    """The URLs of a database that is kept, and of an empty one; None for a file in the folder that is given."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "sqlite":
        yield None, None
        return
    # Who measures SQLite alone needs no development packages.
    from benchmarks.metering import server  # noqa: PLC0415

    with server.running(folder, server.FILLING if filling else server.OPTIONS) as running:
        yield server.url_of(running, server.FILLED), server.url_of(running, server.EMPTY, anew=True)


def _filled(name: str, folder: Path, entries: int) -> None:
    """Fill it, unless that was done before. What was begun and not ended is no good."""
    done = folder / _FILLED
    if done.exists():
        say(f"{name}: filled before, {done.read_text().strip()}")
        return
    with _databases(name, folder, filling=True) as (database_url, _):
        if asyncio.run(_entries(database_url, folder)):
            raise click.ClickException(f"{folder} holds a ledger that was not filled to its end; remove it")
        say(f"{name}: {entries:,} entries are made")
        asyncio.run(_fill(database_url, folder, entries))
    os.sync()
    done.write_bytes(msgspec.json.encode({"entries": entries, "made": datetime.now(UTC).isoformat()}))


async def _fill(database_url: str | None, folder: Path, entries: int) -> None:
    store = Store.open(database_url, str(folder))
    try:
        await filling.fill(store, entries, int(time.time()), say)
    finally:
        await store.close()


async def _entries(database_url: str | None, folder: Path) -> int:
    store = Store.open(database_url, str(folder))
    try:
        await store.migrate()
        return await filling.count(store)
    finally:
        await store.close()


def _child(command: list[str], form: type[T], database_url: str | None = None, ends_with: tuple[int, ...] = (0,)) -> T:
    module, *options = command
    if database_url is not None:
        options += ["--database-url", database_url]
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.metering.{module}", *options], stdout=subprocess.PIPE, check=False
    )
    if done.returncode not in ends_with:
        raise click.ClickException(f"{module} ended with {done.returncode}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=form)


def _begin() -> results.Found:
    commit = ["git", "-C", str(tools.ROOT), "rev-parse", "--short", "HEAD"]
    told = subprocess.run(commit, capture_output=True, text=True, check=False).stdout.strip()
    made = datetime.now(UTC).strftime("%Y-%m-%d")
    return results.Found(made, machine(), told or "unknown", {})


if __name__ == "__main__":
    main()
