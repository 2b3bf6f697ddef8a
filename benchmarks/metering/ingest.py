"""Ingestion: events a second from segment files into an empty and into a filled ledger, and the memory it takes.

::

    python -m benchmarks.metering.ingest --events 50000
    python -m benchmarks.metering.ingest --events 50000 --before 1000000
    python -m benchmarks.metering.ingest --database-url postgresql://…

It runs what the sidecar runs, alone on one core: reading, decoding, rating, one transaction for each batch.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import tempfile
import time
from pathlib import Path

import msgspec

from gateway.contract.usage import Attempt, Tokens, UsageEvent
from gateway.domain.ledger.rating import Counts, NoPrices, Rating
from gateway.kernel.ids import new_id
from gateway.sidecar.ingest import Ingester
from gateway.store.engine import Store

DAYS = 90
_MODELS = [(f"provider-{number % 4}", f"model-{number}") for number in range(20)]
_DAY_NS = 86_400_000_000_000


class Flat(NoPrices):
    """A rater with one price for all, so that the figure is that of ingestion."""

    def __call__(
        self, provider: str | None, model: str, counts: Counts, at_ns: int, organization: str | None = None
    ) -> Rating | None:
        """See :class:`gateway.domain.ledger.rating.Rater`."""
        prompt, completion = counts.prompt * 150, counts.completion * 600
        return Rating(prompt + completion, {"input": prompt, "output": completion}, "price_bench", "USD")


def event(at_ns: int) -> UsageEvent:
    """A plausible event: one of 20 models, 50 organisations, 500 credentials."""
    provider, model = random.choice(_MODELS)
    caller = random.randrange(500)
    took = random.randrange(200, 9_000) * 1_000_000
    attempt = Attempt(provider, model, at_ns, took, 200, "ok")
    prompt = random.randrange(20, 4_000)
    tokens = Tokens(prompt=prompt, cached=prompt // 3, completion=random.randrange(5, 900))
    return UsageEvent(
        new_id("req"), "chat.completions", at_ns, at_ns + took // 9, at_ns + took, f"key_{caller:026}",
        f"org_{caller % 50:026}", model, provider, model, [attempt], tokens, False, bool(caller % 2), "ok", 200, None,
        {"team": f"t{caller % 7}"}, f"user_{caller % 200:026}",
    )  # fmt: skip


def write(folder: Path, number: int, events: int, spread_ns: int) -> None:
    """A segment of ``events`` events, in the order of their times, over ``spread_ns`` until now."""
    encoder = msgspec.json.Encoder()
    begin, step = time.time_ns() - spread_ns, spread_ns // max(1, events)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"usage-0-{number:08d}.jsonl").open("wb") as file:
        for index in range(events):
            file.write(encoder.encode(event(begin + index * step)) + b"\n")


async def drain(store: Store, folder: Path) -> tuple[int, float, float]:
    """Enter all there is; gives the entries, the seconds and the seconds of CPU."""
    flat = Flat()

    async def rater() -> Flat:
        return flat

    ingester = Ingester(store, folder, rater)
    await ingester.start()
    began, cpu = time.perf_counter(), time.process_time()
    while await ingester.round():
        pass
    return ingester.state.entries, time.perf_counter() - began, time.process_time() - cpu


async def run(arguments: argparse.Namespace, folder: Path) -> None:
    """Fill, measure, print."""
    store = Store.open(arguments.database_url, str(folder))
    try:
        await store.migrate()
        if arguments.before:
            write(folder / "usage", 1, arguments.before, DAYS * _DAY_NS)
            entries, seconds, cpu = await drain(store, folder / "usage")
            print(f"before: {entries} entries, {entries / seconds:,.0f}/s, {entries / cpu:,.0f} per second of CPU")
        write(folder / "usage", 2, arguments.events, 3_600_000_000_000)
        entries, seconds, cpu = await drain(store, folder / "usage")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"entered {entries} events: {entries / seconds:,.0f}/s, {entries / cpu:,.0f} per second of CPU")
        print(f"peak memory: {peak} MB")
    finally:
        await store.close()


def main() -> None:
    """Read the arguments and run in a temporary directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--before", type=int, default=0, help="entries the ledger has before")
    parser.add_argument("--database-url")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(arguments, Path(folder)))


if __name__ == "__main__":
    main()
