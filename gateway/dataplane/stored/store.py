"""A worker's way to the kept Responses: one thread, and writes that go together.

What is asked for while a write is under way is written with the next one, so under load one commit serves many.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from gateway.dataplane.stored.conversations import Conversation, Write
from gateway.dataplane.stored.database import Database, ending, forgetting, living, putting, removing
from gateway.dataplane.stored.records import Json, Record, decode
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Settings

logger = logging.getLogger("gateway.responses")

SWEEP: Final = 60.0
"""Seconds between two removals of what is too old or too much, also while nothing is written."""
MOST_WAITING: Final = 10_000
"""Writes that may wait; a further one is refused."""
MOST_BYTES: Final = 134_217_728
"""Bytes that may wait to be written; what comes beyond is refused."""

FILE: Final = "responses.sqlite"

T = TypeVar("T")


class Store:
    """Kept Responses. The file is opened when first needed. Methods raise :class:`GatewayError` (UNAVAILABLE) where
    it can't be read or written.
    """

    def __init__(self, path: Path, retention: float, max_bytes: int) -> None:
        self._path = path
        self._retention = retention
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(1, "responses")
        self._database: Database | None = None
        self._waiting: list[tuple[Sequence[Write], asyncio.Future[int]]] = []
        self._waiting_bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._next_sweep = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.Task[int] | None = None

    async def find(self, organization: str, response_id: str) -> Record | None:
        """One Response."""
        found = await self._ask(lambda database: database.find(organization, (response_id,)))
        return found[0] if found else None

    async def find_all(self, organization: str, ids: Sequence[str]) -> dict[str, Record]:
        """Several, by their ids; those that are not there are left out."""
        if not ids:
            return {}
        found = await self._ask(lambda database: database.find(organization, ids))
        return {record.id: record for record in found}

    async def put(self, organization: str, record: Record, also: Sequence[Write] = ()) -> None:
        """Keep a new one; it is there for all workers when this returns. ``also`` is written with it, or nothing is."""
        await self._write(putting(organization, record), *also)

    async def end(self, organization: str, response_id: str, status: str, response: bytes) -> bool:
        """One that ran in the background is over. False where it was cancelled or removed before."""
        return await self._write(ending(organization, response_id, status, response)) > 0

    async def change(self, *writes: Write) -> int:
        """Write what belongs together. Gives the number of rows that the last statement changed."""
        return await self._write(*writes)

    async def conversation(self, organization: str, conversation_id: str) -> Conversation | None:
        """One conversation."""
        return await self._ask(lambda database: database.conversation(organization, conversation_id))

    async def items(self, organization: str, conversation_id: str) -> list[Json]:
        """The items of a conversation, in their order."""
        found = await self._ask(lambda database: database.items(organization, conversation_id))
        return [decode(item) for item in found]

    async def live(self, organization: str, response_id: str, until: float) -> bool:
        """One runs on in the background. False where it was cancelled or removed."""
        return await self._write(living(organization, response_id, until)) > 0

    async def remove(self, organization: str, response_id: str) -> bool:
        """Forget one. False where there is none."""
        return await self._write(forgetting(organization, response_id), removing(organization, response_id)) > 0

    async def events(self, organization: str, response_id: str, after: int) -> list[tuple[int, int, bytes]]:
        """Events of a stream: see :meth:`gateway.dataplane.stored.database.Database.events`."""
        return await self._ask(lambda database: database.events(organization, response_id, after))

    async def sweep(self) -> int:
        """Remove what is too old or too much now."""
        return await self._ask(lambda database: database.sweep())

    async def close(self) -> None:
        """Finish what is being written and close the file."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._writing is not None:
            await self._writing
        if self._database is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown(wait=False)

    async def _ask(self, question: Callable[[Database], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: question(self._opened()))
        except Exception as error:
            raise _unavailable(error) from None

    def _opened(self) -> Database:
        if self._database is None:
            self._database = Database(self._path, self._retention, self._max_bytes)
        return self._database

    async def _write(self, *writes: Write) -> int:
        size = sum(len(value) for _, values in writes for value in values if isinstance(value, bytes))
        if len(self._waiting) >= MOST_WAITING or (self._waiting and self._waiting_bytes + size > MOST_BYTES):
            raise GatewayError(Kind.UNAVAILABLE, "store_busy", "Too many responses are being stored.", retry_after=1)
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[int] = loop.create_future()
        self._waiting.append((writes, waiting))
        self._waiting_bytes += size
        if self._writing is None:
            self._writing = loop.create_task(self._write_waiting())
        return await waiting

    async def _write_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            taken, self._waiting = self._waiting, []
            self._waiting_bytes = 0
            sweeps = loop.time() >= self._next_sweep
            if sweeps:
                self._next_sweep = loop.time() + SWEEP
            try:
                changed = await loop.run_in_executor(self._thread, self._change, [each for each, _ in taken], sweeps)
            except Exception as error:
                refused = _unavailable(error)
                for _, waiting in taken:
                    if not waiting.done():
                        waiting.set_exception(GatewayError(refused.kind, refused.code, refused.message))
            else:
                for (_, waiting), n in zip(taken, changed, strict=True):
                    if not waiting.done():
                        waiting.set_result(n)
        self._writing = None
        if self._timer is None:
            self._timer = loop.call_later(SWEEP, self._sweep_again)

    def _sweep_again(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SWEEP, self._sweep_again)
        if loop.time() >= self._next_sweep and (self._sweeping is None or self._sweeping.done()):
            self._next_sweep = loop.time() + SWEEP
            self._sweeping = loop.create_task(self.sweep())
            self._sweeping.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _change(self, taken: list[Sequence[Write]], sweeps: bool) -> list[int]:
        """Write all; gives for each what its last statement changed."""
        database = self._opened()
        if sweeps:
            database.sweep()
        changed = iter(database.write([write for writes in taken for write in writes]))
        return [[next(changed) for _ in writes][-1] for writes in taken]


def store_for(settings: Settings) -> Store:
    """The store that a configuration describes."""
    kept = settings.responses
    return Store(Path(settings.data_dir) / FILE, kept.retention_days * 86_400.0, kept.max_bytes)


def _unavailable(error: Exception) -> GatewayError:
    logger.error("stored responses can't be reached", extra={"detail": str(error)})
    message = "Stored responses can't be reached now."
    return GatewayError(Kind.UNAVAILABLE, "store_unavailable", message, retry_after=1)
