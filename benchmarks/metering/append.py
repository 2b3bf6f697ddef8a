"""The outbox's append: CPU of a worker for each request at a steady rate, everything else taken off.

::

    python -m benchmarks.metering.append
    python -m benchmarks.metering.append --rate 2000 --seconds 5 --rounds 5

The same requests end at the same pace, each in a turn of the event loop of its own, once with the sink that workers
write to and once with one that only lets the answer go. The difference of the two CPU times, user and system, is what
the append costs: encoding, the buffer, the journal, the write and the wait for it; nothing of it is shared between
requests, as it is under more load. It is CPU time and not time on the clock, since a machine may do other things. A
round is one of each; told are the median and the worst.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import uvloop

from benchmarks.metering.ingest import event
from gateway.contract.usage import UsageEvent
from gateway.dataplane.emit import FileSink, UsageSink

TARGET = 10.0  # microseconds of CPU a request
_PAUSE = 0.0005  # seconds between two looks at what has ended meanwhile


class NoSink:
    """Lets every answer go at the next turn of the loop, as the other does."""

    failing = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def append(self, event: UsageEvent, release: Callable[[], None]) -> None:
        """See :class:`gateway.dataplane.emit.UsageSink`."""
        self._loop.call_soon(release)

    def close(self) -> None:
        """See :class:`gateway.dataplane.emit.UsageSink`."""


class Released:
    """Counts the answers that were let go."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


async def cpu_of(sink: UsageSink, events: list[UsageEvent], rate: float) -> float:
    """Seconds of CPU while the events come at a rate, until each of them is safe."""
    released = Released()
    began, spent = time.monotonic(), time.process_time()
    for number, each in enumerate(events, 1):
        sink.append(each, released)
        # As many turns of the loop whatever the sink does, so that what they cost is taken off whole.
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
    while released.count < len(events):  # noqa: ASYNC110 - the last turn
        await asyncio.sleep(_PAUSE)
    return time.process_time() - spent


async def measure(rate: int, seconds: float, rounds: int, folder: Path) -> dict[str, float]:
    """Microseconds of CPU for each append, over some rounds."""
    loop = asyncio.get_running_loop()
    events = [event(time.time_ns()) for _ in range(int(rate * seconds))]
    found = []
    for number in range(rounds):
        without = await cpu_of(NoSink(loop), events, rate)
        sink = FileSink(folder / str(number), 0, loop)
        with_it = await cpu_of(sink, events, rate)
        sink.close()
        found.append((with_it - without) / len(events) * 1e6)
    return {"median_us": round(statistics.median(found), 2), "worst_us": round(max(found), 2)}


def main() -> None:
    """Measure, tell as JSON, and end with exit code 1 where the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=2_000, help="requests a second")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each half of a round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="append-") as folder:
        found = uvloop.run(measure(given.rate, given.seconds, given.rounds, Path(folder)))
    print(orjson.dumps({"rate": given.rate, "target_us": TARGET, **found}).decode())
    raise SystemExit(0 if found["median_us"] <= TARGET else 1)


if __name__ == "__main__":
    main()
