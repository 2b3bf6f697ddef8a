"""How much memory the sidecar takes: at rest, at most in each part of a hard mixed run, and afterwards. Linux alone.

::

    python -m benchmarks.metering.memory
    python -m benchmarks.metering.memory --events 20000 --rounds 1     a short run
    python -m benchmarks.metering.memory --parts batches prices        these parts alone

It runs the sidecar as ``gateway serve`` does, and asks it over its socket. The parts come one after the other, then all
at once; listeners of the live stream stay until the end. What counts is resident memory, of files in it too. The exit
code is 1 where it was :data:`BOUND` or more at any time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
from websockets.asyncio.client import ClientConnection, unix_connect

from benchmarks.metering.asking import LISTENED, batch, batched, events, prices, reads

BOUND = 150  # MB
LISTENERS = 20
Part = Callable[[], Awaitable[None]]


class Sidecar:
    """A running one, in a directory of its own."""

    def __init__(self, folder: Path, database_url: str | None = None) -> None:
        self.folder = folder
        self.socket = str(folder / "sidecar.sock")
        config = folder / "gateway.yaml"
        told = {"data_dir": str(folder / "data"), "database_url": database_url}
        config.write_text(json.dumps({name: value for name, value in told.items() if value is not None}))
        ready, write_end = os.pipe()
        command = [sys.executable, "-m", "gateway.sidecar", "--config", str(config), "--socket", self.socket]
        began = time.perf_counter()
        self.process = subprocess.Popen([*command, "--ready-fd", str(write_end)], pass_fds=[write_end])
        os.close(write_end)
        if not os.read(ready, 1):
            raise SystemExit("the sidecar did not start")
        os.close(ready)
        self.started = time.perf_counter() - began
        self.key = (folder / "data" / "master_key").read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        """Those of the administrator."""
        return {"authorization": f"Bearer {self.key}"}

    def client(self) -> httpx.AsyncClient:
        """Who asks it."""
        transport = httpx.AsyncHTTPTransport(uds=self.socket)
        return httpx.AsyncClient(transport=transport, base_url="http://sidecar", headers=self.headers, timeout=300)

    def memory(self, name: str) -> int:
        """``VmRSS`` or ``VmHWM``, in MB of 2**20 bytes."""
        found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) >> 10

    def forget_peak(self) -> None:
        """Have the highest mark begin anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)


@asynccontextmanager
async def listening(sidecar: Sidecar) -> AsyncIterator[None]:
    """Listeners of everything, who take what they are told."""

    async def take(listener: ClientConnection) -> None:
        async for _ in listener:
            pass

    async with AsyncExitStack() as stack:
        takers = []
        for _ in range(LISTENERS):
            connecting = unix_connect(
                sidecar.socket, "ws://sidecar/v1/stream", additional_headers=sidecar.headers, max_size=None
            )
            listener = await stack.enter_async_context(connecting)
            for message in LISTENED:
                await listener.send(message)
            takers.append(asyncio.create_task(take(listener)))
        try:
            yield
        finally:
            for taker in takers:
                taker.cancel()
            await asyncio.gather(*takers, return_exceptions=True)


def parts_of(sidecar: Sidecar, http: httpx.AsyncClient, asked: argparse.Namespace) -> dict[str, Part]:
    """What is done, by name."""
    large = batch()

    async def batches() -> None:
        await asyncio.gather(*(batched(http, large, asked.rounds) for _ in range(asked.clients)))

    numbers = iter(range(1, 1_000))

    async def ingestion() -> None:
        await events(http, sidecar.folder / "data" / "usage", next(numbers), asked.events)

    return {
        "prices": lambda: prices(http),
        "batches": batches,
        "ingestion": ingestion,
        "reads": lambda: reads(http, asked.rounds),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def run(sidecar: Sidecar, asked: argparse.Namespace) -> dict[str, int]:
    """Do all of it; gives the most it took in each part, in MB."""
    _say(f"answers after {sidecar.started:.2f} s")
    await asyncio.sleep(1)
    peaks = {"at rest": sidecar.memory("VmHWM")}
    _say(f"{'':<12}{'seconds':>10}{'peak MB':>10}{'then MB':>10}")
    _say(f"{'at rest':<12}{'':>10}{peaks['at rest']:>10}{sidecar.memory('VmRSS'):>10}")
    async with sidecar.client() as http, listening(sidecar):
        parts = parts_of(sidecar, http, asked)
        chosen = {name: parts[name] for name in asked.parts or parts}

        async def all_at_once() -> None:
            await asyncio.gather(*(part() for part in chosen.values()))

        for name, part in {**chosen, "together": all_at_once}.items():
            sidecar.forget_peak()
            began = time.perf_counter()
            await part()
            took, peaks[name] = time.perf_counter() - began, sidecar.memory("VmHWM")
            await asyncio.sleep(1)
            _say(f"{name:<12}{took:>10.1f}{peaks[name]:>10}{sidecar.memory('VmRSS'):>10}")
    await asyncio.sleep(asked.after)
    _say(f"{'after':<12}{'':>10}{'':>10}{sidecar.memory('VmRSS'):>10}")
    return peaks


@contextlib.contextmanager
def started(database_url: str | None = None) -> Iterator[Sidecar]:
    """A sidecar in a temporary directory, over a file in it unless it is told of a database."""
    with tempfile.TemporaryDirectory() as folder:
        sidecar = Sidecar(Path(folder), database_url)
        try:
            yield sidecar
        finally:
            sidecar.stop()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="events that are ingested, each time")
    parser.add_argument("--clients", type=int, default=4, help="who send batches of 10 MB at once")
    parser.add_argument("--rounds", type=int, default=3, help="batches of each client; times everything is read")
    parser.add_argument("--parts", nargs="*", choices=["prices", "batches", "ingestion", "reads"])
    parser.add_argument("--after", type=float, default=5, help="seconds until the memory afterwards is read")
    parser.add_argument("--database-url", help="a PostgreSQL, instead of a file")
    parser.add_argument("--json", action="store_true", help="print the most of each part as a line of JSON")
    asked = parser.parse_args()
    with started(asked.database_url) as sidecar:
        peaks = asyncio.run(run(sidecar, asked))
    worst = max(peaks.values())
    _say(f"at most {worst} MB, of less than {BOUND}")
    if asked.json:
        print(json.dumps({"peaks": peaks, "bound": BOUND}))
    sys.exit(worst >= BOUND)


if __name__ == "__main__":
    main()
