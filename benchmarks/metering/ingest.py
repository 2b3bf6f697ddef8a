"""Ingestion: events a second from segment files into a ledger, and the memory it takes.

::

    python -m benchmarks.metering.ingest ./folder --events 50000          a file in it is SQLite's
    python -m benchmarks.metering.ingest ./folder --database-url postgresql://…

It runs what the sidecar runs, in a process of its own: reading, decoding, rating by the default prices, one transaction
for each batch with all its sums. The result is a line of JSON.
"""

from __future__ import annotations

import asyncio
import random
import resource
import time
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from gateway.contract.usage import Attempt, Tokens, UsageEvent
from gateway.domain.ledger.rating import BookRater
from gateway.domain.pricing.book import PriceBook, bases_of
from gateway.kernel.ids import new_id
from gateway.kernel.memory import collect_seldom
from gateway.settings.model import Settings
from gateway.sidecar.ingest import Ingester
from gateway.store.engine import Store

MODELS = [
    (provider, model)
    for provider, models in (
        ("openai", ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "o3-mini")),
        ("anthropic", ("claude-sonnet-4-0", "claude-opus-4-0", "claude-3-7-sonnet-latest",
                       "claude-3-5-sonnet-latest", "claude-3-5-haiku-latest")),
        ("google", ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.0-flash", "gemini-1.5-pro", "gemini-1.5-flash")),
        ("mistral", ("mistral-large-latest", "mistral-small-latest", "codestral-latest", "open-mistral-nemo",
                     "ministral-8b-latest")),
    )
    for model in models
]  # fmt: skip
HOUR_NS = 3_600_000_000_000


class Ingestion(Struct, frozen=True):
    """How long entering some events took, wall time and CPU time of the process, and the most it held resident."""

    events: int
    seconds: float
    cpu_seconds: float
    peak_mb: float


def event(at_ns: int) -> UsageEvent:
    """A plausible event: one of 20 models, 50 organisations, 500 credentials, 7 teams."""
    provider, model = random.choice(MODELS)
    caller = random.randrange(500)
    took = random.randrange(200, 9_000) * 1_000_000
    attempt = Attempt(provider, model, at_ns, took, 200, "ok")
    prompt = random.randrange(20, 4_000)
    tokens = Tokens(prompt=prompt, cached=prompt // 3, completion=random.randrange(5, 900))
    return UsageEvent(
        new_id("req"), "chat.completions", at_ns, at_ns + took // 9, at_ns + took, f"key_{1000 + caller}",
        f"org_{1000 + caller % 50}", model, provider, model, [attempt], tokens, False, bool(caller % 2), "ok", 200,
        None, {"team": f"t{random.randrange(7)}"}, f"user_{1000 + caller % 200}",
    )  # fmt: skip


def write(folder: Path, events: int) -> None:
    """A segment of ``events`` events, in the order of their times, of the last hour until now."""
    encoder = msgspec.json.Encoder()
    begin, step = time.time_ns() - HOUR_NS, HOUR_NS // max(1, events)
    folder.mkdir(parents=True, exist_ok=True)
    # Those that were entered go after a while, and a name must not come again.
    number = max((int(path.stem.rpartition("-")[2]) for path in folder.glob("usage-*.jsonl")), default=0) + 1
    with (folder / f"usage-0-{number:08d}.jsonl").open("wb") as file:
        for index in range(events):
            file.write(encoder.encode(event(begin + index * step)) + b"\n")


async def measure(database_url: str | None, folder: Path, events: int) -> Ingestion:
    """Write events and enter them into the ledger of a folder, or of a database."""
    write(folder / "usage", events)
    collect_seldom()  # as a sidecar does
    store = Store.open(database_url, str(folder))
    book = PriceBook(bases_of(msgspec.convert({"data_dir": str(folder)}, Settings)))

    async def rater() -> BookRater:
        async with store.reading() as session:
            await book.refresh(session)
        return BookRater(book)

    try:
        await store.migrate()
        ingester = Ingester(store, folder / "usage", rater)
        await ingester.start()
        began, cpu = time.perf_counter(), time.process_time()
        while await ingester.round():
            pass
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        if ingester.state.entries < events:
            raise RuntimeError(f"{ingester.state.entries} of {events} events were entered")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        return Ingestion(ingester.state.entries, seconds, cpu, peak)
    finally:
        await store.close()


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--events", default=100_000, show_default=True)
@click.option("--database-url")
def main(folder: Path, events: int, database_url: str | None) -> None:
    """Enter events into the ledger of FOLDER, and print what it took."""
    click.echo(msgspec.json.encode(asyncio.run(measure(database_url, folder, events))).decode())


if __name__ == "__main__":
    main()
