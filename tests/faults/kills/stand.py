"""A deployment with its provider and its clients, and what is looked at once the clients have stopped."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from click.testing import CliRunner

from gateway.cli.main import cli
from tests.faults.kills.deployment import Deployment
from tests.faults.kills.disturbing import lay_old
from tests.faults.kills.embedded import Embedded
from tests.faults.kills.judge import Death, Prices, Verdict, is_torn, judge
from tests.faults.kills.ledger import NUMBERS, Ledger, open_ledger
from tests.faults.kills.scaled import Kept, Scaled
from tests.faults.kills.settings import MODELS, PRICE
from tests.faults.kills.traffic import Traffic
from tests.faults.kills.upstream import Counting
from tests.support.raw_upstream import raw_upstream

NS = 1_000_000_000
DAY = 86_400
LATEST = 2**40  # seconds
WHOLE = 60.0  # seconds the ledger may take to be whole
SERVING = ("worker", "tree")
"""The kinds that have requests under way."""
DEPLOYMENTS: dict[str, type[Deployment]] = {"embedded": Embedded, "scaled": Scaled, "scaled-kept": Kept}


class Stand:
    """What a test works with. ``prices`` are those that each model has to stand at in the end, ``old`` the sums of what
    began before yesterday; ``killed`` counts kinds, ``deaths`` are those of processes that had requests under way.
    """

    def __init__(self, deployment: Deployment, books: Counting, seed: int) -> None:
        self.deployment = deployment
        self.books = books
        self.traffic = Traffic(deployment.roots, seed)
        self.prices: dict[str, Prices] = dict.fromkeys(MODELS, PRICE)
        self.killed: Counter[str] = Counter()
        self.deaths: list[Death] = []
        self.old = dict.fromkeys(NUMBERS, 0)
        self.began = time.monotonic()
        self._since = int(time.time()) // DAY * DAY - DAY
        self._asking: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Have the clients begin."""
        self._asking = asyncio.create_task(self.traffic.run())

    async def kill(self, kind: str, pid: int) -> bool:
        """Kill one of what lives of a kind; False where it had ended."""
        began = time.monotonic()
        killed = await self.deployment.kill(kind, pid)
        if killed:
            self.killed[kind] += 1
            if kind in SERVING:
                self.deaths.append(Death(began, time.monotonic()))
        return killed

    async def cease(self) -> float:
        """Have the clients stop; gives the seconds since the beginning."""
        self.traffic.stopped = True
        if self._asking is not None:
            await self._asking
        return time.monotonic() - self.began

    async def whole(self) -> float:
        """Wait until all that was asked has been entered; gives the seconds.

        A request that its client left is written down once its tokens are counted, and no file tells of it before. So
        every gateway is ended as an operator does, which waits for that, and started again.
        """
        began = time.monotonic()
        for node in self.deployment.nodes:
            await node.stop()
        for node in self.deployment.nodes:
            await node.start()
        await self.entered()
        return time.monotonic() - began

    async def entered(self) -> None:
        """Wait until nothing that has been written is pending anywhere."""
        deadline = time.monotonic() + WHOLE
        while pending := [left for node in self.deployment.nodes for left in await _pending(node.config_path)]:
            assert time.monotonic() < deadline, f"still pending: {pending}\n{self.deployment.log()}"
            await asyncio.sleep(0.1)

    async def standing(self, corrected: Mapping[str, Prices]) -> None:
        """Wait until every entry stands at a price that was told late."""
        self.prices |= corrected
        deadline = time.monotonic() + WHOLE
        while True:
            async with self.ledger() as ledger:
                left = [await ledger.at_another_price(name, at.input, at.output) for name, at in corrected.items()]
            if not any(left):
                return
            assert time.monotonic() < deadline, f"{left} entries stand at the old price\n{self.deployment.log()}"
            await asyncio.sleep(0.2)

    @asynccontextmanager
    async def ledger(self) -> AsyncIterator[Ledger]:
        """The ledger as of one moment."""
        async with open_ledger(self.deployment.database_url, self.deployment.data_dir) as ledger:
            yield ledger

    async def forgotten(self) -> None:
        """Wait until what was laid as old has gone; a sidecar looks for it when it starts."""
        for pid in self.deployment.living("sidecar"):
            await self.deployment.kill("sidecar", pid)
        deadline = time.monotonic() + WHOLE
        while True:
            async with self.ledger() as ledger:
                left = await ledger.count(self._since * NS)
            if not left:
                return
            assert time.monotonic() < deadline, f"{left} old entries are still there\n{self.deployment.log()}"
            await asyncio.sleep(0.2)

    async def judged(self) -> Verdict:
        """Hold everything against everything."""
        async with self.ledger() as ledger:
            entries = [entry for entry in await ledger.entries() if entry.started_ns >= self._since * NS]
            verdict = judge(self.traffic.asked, self.books, entries, self.prices, self.deaths)
            real = {name: sum(getattr(entry, name) or 0 for entry in entries) for name in NUMBERS}
            for table in ("usage_hours", "usage_days"):
                if (sums := await ledger.sums(table, self._since, LATEST)) != real:
                    verdict.fault(f"{table} has {sums}, the entries {real}")
                if (sums := await ledger.sums(table, 0, self._since)) != self.old:
                    verdict.fault(f"{table} has {sums} of what was old, expected {self.old}")
            for line in await ledger.poison():
                verdict.torn += 1
                if not is_torn(line):
                    verdict.fault(f"set aside: {line}")
        for config in self.deployment.ledgers:
            code, output = await command("verify", config)
            if code:
                verdict.fault(output)
        return verdict


@asynccontextmanager
async def stand(
    name: str, seed: int, *, env: Mapping[str, str] | None = None, old: bool = False
) -> AsyncIterator[Stand]:
    """A running deployment for the duration of the block; its end is checked. ``old`` is whether it finds old usage."""
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    books = Counting(seed)
    try:
        async with raw_upstream(books.serve) as upstream:
            deployment = DEPLOYMENTS[name](upstream.base_url, folder, env)
            standing = Stand(deployment, books, seed)
            if old:
                standing.old = lay_old(deployment.nodes[0].outbox, PRICE)
            await deployment.start()
            try:
                yield standing
            finally:
                try:
                    await standing.cease()  # raises what clients found wrong
                finally:
                    await deployment.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _pending(config: Path) -> list[object]:
    code, output = await command("pending", config, "--json")
    # A sidecar that has always been killed while it started has made no ledger yet.
    return [output] if code else list(json.loads(output)["files"])


async def command(name: str, config: Path, *more: str) -> tuple[int, str]:
    """``gateway usage`` with a command: its exit code and what it wrote."""
    words = ["usage", name, "--config", str(config), *more]
    done = await asyncio.to_thread(CliRunner().invoke, cli, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output
