"""Usage events on their way from this machine's files into the ledger.

The files are looked at ten times a second. Each batch is one transaction with its sums and the position it was read to,
so that a sidecar that is killed goes on where the ledger ends. A file goes when all of it is in the ledger and its
worker has turned to the next long enough ago.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct

from gateway.bus import usage_journal
from gateway.bus.backoff import Backoff
from gateway.bus.usage_files import Segment, keep_positions, node_of, positions_of, remove, segments
from gateway.domain.ledger.ingest import Ingested, Moved, forget, ingest, marks
from gateway.domain.ledger.pieces import advance
from gateway.domain.ledger.rating import Rater
from gateway.kernel.tasks import end
from gateway.sidecar.histogram import Histogram
from gateway.sidecar.segments import read
from gateway.store.engine import Store

LOOK = 0.1  # seconds
KEEP = 300.0  # seconds: a worker that starts again reads what it wrote last
_RATE_SECONDS = 10.0
_KEPT_SECONDS = 1.0
_RECOVER_SECONDS = 1.0  # a worker that was killed may have no successor

_log = logging.getLogger("gateway.sidecar.ingest")


class IngestState(Struct):
    """Numbers for metrics.

    ``entries`` were made, ``known`` events were in the ledger already, ``poison`` lines were set aside, all since the
    start; ``rate`` is entries a second lately. ``lag_bytes`` is what was written and is not in the ledger when it was
    last looked at, ``age`` the seconds since the oldest of it was seen there.

    Of a stream in Redis: its length, how much of it nobody has taken yet and how much somebody has, in entries; the
    seconds since its oldest entry was added; how many entries were taken over from consumers that died, since the
    start; the consumers there are, and the nodes that send.
    """

    entries: int = 0
    known: int = 0
    poison: int = 0
    lag_bytes: int = 0
    age: float = 0.0
    rate: float = 0.0
    failing: bool = False
    source: Literal["files", "stream"] = "files"
    stream_length: int = 0
    stream_lag: int = 0
    stream_pending: int = 0
    stream_age: float = 0.0
    claimed: int = 0
    consumers: int = 0
    nodes: int = 0


class Meter:
    """Keeps the numbers that do not depend on where usage comes from."""

    def __init__(self, source: Literal["files", "stream"]) -> None:
        self.state = IngestState(source=source)
        self.durations = Histogram()
        """Of batches, until each was in the ledger."""
        self._window = (time.monotonic(), 0)

    @contextlib.contextmanager
    def timing(self) -> Iterator[None]:
        """A batch is entered within the block."""
        began = time.monotonic()
        yield
        self.durations.add(time.monotonic() - began)

    def count(self, where: str, result: Ingested) -> None:
        """What became of a batch."""
        self.state.entries += result.entries
        self.state.known += result.known
        self.state.poison += result.poison
        if result.poison:
            _log.error("lines of usage were set aside", extra={"source": where, "lines": result.poison})

    def tick(self) -> None:
        """Look at the rate; call it about once a second or more often."""
        now = time.monotonic()
        began, entries = self._window
        if now - began >= _RATE_SECONDS:
            self.state.rate = (self.state.entries - entries) / (now - began)
            self._window = (now, self.state.entries)

    def fails(self, error: Exception) -> None:
        """Nothing can be entered now; the log tells it once."""
        if not self.state.failing:
            reason = f"{type(error).__name__}: {error}"
            _log.warning("usage is not entered into the ledger now", extra={"reason": reason})
        self.state.failing = True

    def works(self) -> None:
        """It goes on."""
        if self.state.failing:
            _log.info("usage is entered into the ledger again")
        self.state.failing = False


class Ingester:
    """Reads the segments in ``folder`` into the ledger. Use it as ``async with``.

    ``rater`` is asked before anything is entered, so that the prices are those of then.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        rater: Callable[[], Awaitable[Rater]],
        *,
        keep: float = KEEP,
    ) -> None:
        self.store = store
        self.folder = folder
        self._meter = Meter("files")
        self._rater = rater
        self._keep = keep
        self._node = ""
        self._positions: dict[str, int] = {}
        self._kept: dict[str, int] = {}
        self._kept_at = 0.0
        self._recovered_at = 0.0
        self._behind_since: float | None = None

    @property
    def state(self) -> IngestState:
        """How far it is."""
        return self._meter.state

    @property
    def durations(self) -> Histogram:
        """How long batches took until they were in the ledger."""
        return self._meter.durations

    async def __aenter__(self) -> Ingester:
        self._ingesting = asyncio.create_task(self._run(), name="ingester")
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._ingesting)
        if self._kept != self._positions:
            with contextlib.suppress(OSError):
                await self._keep_positions()

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self.start()
                while True:
                    if not await self.round():
                        await asyncio.sleep(LOOK)
                    backoff.reset()
                    self._meter.works()
            except Exception as error:
                # Neither a database that is away nor a full disk may end it for good; the files wait.
                self._meter.fails(error)
                await asyncio.sleep(backoff.next())

    async def start(self) -> None:
        """Find out how far the ledger is."""
        self._node = await asyncio.to_thread(node_of, self.folder)
        self._positions = await marks(self.store, f"{self._node}/")
        await self._take_over()

    async def _take_over(self) -> None:
        """Go on where the ledger is by what Redis told, where usage went through Redis until now."""
        told = await asyncio.to_thread(positions_of, self.folder)
        if told.by == "files":
            return
        sizes = {segment.name: segment.size for segment in await asyncio.to_thread(segments, self.folder)}
        reached = {f"{self._node}/{name}": at for name, at in told.files.items() if at <= sizes.get(name, -1)}
        ahead = {source: at for source, at in reached.items() if at > self._positions.get(source, 0)}
        if ahead:
            await advance(self.store, ahead)
            self._positions |= ahead
        await self._keep_positions()

    async def round(self) -> bool:
        """Look at every segment once and enter what is new, about a megabyte of each; whether anything was."""
        found = await asyncio.to_thread(self._look)
        moved = False
        grown = [item for item in found if item.size != self._positions.get(self._source(item), 0)]
        if grown:
            rater = await self._rater()
            for segment in grown:
                moved = await self._take(segment, rater) or moved
        self._tell(found)
        await self._clean(found)
        if time.monotonic() - self._kept_at >= _KEPT_SECONDS and self._kept != self._positions:
            await self._keep_positions()
        return moved

    async def _keep_positions(self) -> None:
        """Note beside the files how far the ledger is: who may send them through Redis some day begins there."""
        self._kept_at = time.monotonic()
        positions = dict(self._positions)
        files = {source.partition("/")[2]: at for source, at in positions.items()}
        await asyncio.to_thread(keep_positions, self.folder, "files", files)
        self._kept = positions  # not before: who is cancelled meanwhile may not have written them

    def _look(self) -> list[Segment]:
        now = time.monotonic()
        if now - self._recovered_at >= _RECOVER_SECONDS:
            self._recovered_at = now
            usage_journal.recover(self.folder)
        return segments(self.folder)

    def _source(self, segment: Segment) -> str:
        return f"{self._node}/{segment.name}"

    async def _take(self, segment: Segment, rater: Rater) -> bool:
        source = self._source(segment)
        position = self._positions.get(source, 0)
        if segment.size < position:
            # Another file of this name: its events are new, or known by their ids.
            _log.warning("a file of usage events was replaced", extra={"file": segment.name})
            await forget(self.store, [source])
            position = self._positions[source] = 0
        try:
            batches = await asyncio.to_thread(read, segment, source, position)
        except FileNotFoundError:
            return False
        for batch in batches:
            try:
                async with self.store.large:
                    with self._meter.timing():
                        result = await ingest(self.store, batch, rater)
            except Moved as error:
                self._positions[source] = error.position
                return True
            self._positions[source] = batch.end
            self._meter.count(source, result)
        return bool(batches)

    def _tell(self, found: list[Segment]) -> None:
        now = time.monotonic()
        state = self.state
        state.lag_bytes = sum(item.size - self._positions.get(self._source(item), 0) for item in found)
        if not state.lag_bytes:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        state.age = 0.0 if self._behind_since is None else now - self._behind_since
        self._meter.tick()

    async def _clean(self, found: list[Segment]) -> None:
        names = {segment.name for segment in found}
        old = time.time() - self._keep
        gone = []
        for segment in found:
            source = self._source(segment)
            read_whole = self._positions.get(source) == segment.size
            # The newest stays even when it is read: the numbers of files never go back.
            if read_whole and not segment.newest and segment.changed < old and await asyncio.to_thread(remove, segment):
                gone.append(source)
        gone += [source for source in self._positions if source.partition("/")[2] not in names]
        if gone:
            await forget(self.store, gone)
            for source in gone:
                with contextlib.suppress(KeyError):
                    del self._positions[source]
