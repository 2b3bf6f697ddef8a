"""One soak: warm up, look, load with reloads in between, look again."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.soak.callers import Callers, Told
from tests.faults.soak.census import EVERY
from tests.faults.soak.settings import IDLE, configuration, models
from tests.faults.soak.verdict import GAUGES, SHORT, SLACK, Census, growth, leaks
from tests.faults.upstream.provider import FaultyProvider, faulty_provider
from tests.support.gateway import RunningGateway
from tests.support.scraped import Scraped

QUIET = 30.0
"""Seconds within which everything must be over once nobody asks any more."""
RELOAD = (1.0, 4.0)
"""Seconds between two reloads of the configuration."""
POINTS = 20
"""Moments of which the report tells the memory."""


class Outcome(Struct):
    """What came of a soak; ``faults`` is empty where all is well."""

    seed: int
    seconds: float
    told: Told
    reloads: int
    before: Census
    after: Census
    grown: float
    faults: list[str]
    resident: list[int]
    """Bytes of memory under load, at :data:`POINTS` moments."""


class Soak:
    """A gateway with its two faulty providers."""

    def __init__(self, gateway: RunningGateway, census: Path, providers: list[FaultyProvider], seed: int) -> None:
        self.samples: list[Census] = []
        self.reloads = 0
        self._gateway = gateway
        self._census = census
        self._providers = providers
        self._chance = random.Random(f"{seed} reloads")
        self._seed = seed

    async def load(self, seconds: float, callers: int, name: str, least: int = 0) -> Told:
        """Let clients ask for so long, and for at least so many requests; what they were told."""
        asking = Callers(self._gateway.address, [model["name"] for model in models()], self._seed, callers)
        running = asyncio.create_task(asking.run(), name=name)
        until = time.monotonic() + seconds
        reload_at = time.monotonic() + self._chance.uniform(*RELOAD)
        while (time.monotonic() < until or asking.told.requests < least) and not running.done():
            await asyncio.sleep(EVERY)
            self.samples.append(await self._counted(0.0))
            if time.monotonic() >= reload_at:
                self._gateway.process.send_signal(signal.SIGHUP)
                self.reloads += 1
                reload_at = time.monotonic() + self._chance.uniform(*RELOAD)
            for provider in self._providers:
                _forget(provider)
        asking.stopped = True
        await running
        return asking.told

    async def quiet(self) -> tuple[Census, Scraped]:
        """Wait until nothing is under way; gives what is there then, or what is left after :data:`QUIET`."""
        until = time.monotonic() + QUIET
        await asyncio.sleep(2 * IDLE)
        while True:
            gauges = await asyncio.to_thread(_gauges, self._gateway.root)
            census = await self._counted(time.time())
            is_over = not any(gauges.sum(name) for name in GAUGES) and not any((census.reserved or {}).values())
            if is_over or time.monotonic() > until:
                # The requests are over; what they had of tasks and files goes within a census.
                return await self._counted(time.time() + EVERY), gauges
            await asyncio.sleep(EVERY)

    async def _counted(self, since: float) -> Census:
        """The first census that was taken later."""
        until = time.monotonic() + QUIET
        while True:
            try:
                found = msgspec.json.decode(self._census.read_bytes(), type=Census)
                if found.at > since:
                    return found
            except FileNotFoundError:
                pass
            assert time.monotonic() < until, f"the worker counts nothing:\n{self._gateway.log()}"
            await asyncio.sleep(EVERY / 5)


async def run(
    seconds: float,
    seed: int,
    *,
    warm: float = 20.0,
    callers: int = 24,
    least: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Soak for so many seconds, and at least so many requests, after a warm-up.

    The faults in the outcome are for the caller to look at.
    """
    async with _soak(seed) as soak:
        await soak.load(warm, callers, "warm-up")
        before, _ = await soak.quiet()
        say(f"warm: {before.resident / 1_048_576:.0f} MB, {before.files} files, {sum(before.tasks.values())} tasks")
        soak.samples.clear()
        began = time.monotonic()
        told = await soak.load(seconds, callers, "load", least)
        took = time.monotonic() - began
        under_load = list(soak.samples)
        after, gauges = await soak.quiet()
        say(f"over: {after.resident / 1_048_576:.0f} MB, {after.files} files, {sum(after.tasks.values())} tasks")
        # An answer of many megabytes may be under way for all of a short run's last quarter.
        grown, faults = growth(under_load) if seconds >= SHORT else growth([*under_load, after], 3 * SLACK)
        faults = [*faults, *leaks(before, after, gauges), *told.faults[:20]]
        curve = [sample.resident for sample in under_load[:: max(1, len(under_load) // POINTS)]]
        return Outcome(seed, took, told, soak.reloads, before, after, grown, faults, curve)


@asynccontextmanager
async def _soak(seed: int) -> AsyncIterator[Soak]:
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    census = folder / "census.json"
    try:
        async with faulty_provider() as up, faulty_provider() as spare:
            config = configuration(up.base_url, spare.base_url, census)
            gateway = await asyncio.to_thread(RunningGateway, config, folder)
            try:
                yield Soak(gateway, census, [up, spare], seed)
            except BaseException:
                await asyncio.to_thread(gateway.kill)
                raise
            await asyncio.to_thread(gateway.stop)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _gauges(root: str) -> Scraped:
    answer = httpx.get(f"{root}/metrics", timeout=QUIET)
    return Scraped(text_string_to_metric_families(answer.raise_for_status().text))


def _forget(provider: FaultyProvider) -> None:
    """Keep nothing of calls that are over: they are many."""
    provider.calls.clear()
    provider.upstream.requests.clear()
    provider.upstream.peers[:] = [peer for peer in provider.upstream.peers if not peer.writer.is_closing()]
