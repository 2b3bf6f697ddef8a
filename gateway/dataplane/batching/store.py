"""A worker's way to files and batches: one thread, in which the database is open from when it is first needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from gateway.dataplane.batching.database import FILE, Database
from gateway.kernel.errors import GatewayError, Kind

logger = logging.getLogger("gateway.batches")

FOLDER: Final = "batches"
MOST_WAITING: Final = 1_000
"""Questions that may wait for the thread; a further one is refused."""

T = TypeVar("T")


class Store:
    """Files and batches in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._thread = ThreadPoolExecutor(1, "batches")
        self._database: Database | None = None
        self._waiting = 0

    @property
    def exists(self) -> bool:
        """Whether there may be anything: nothing was ever kept where it does not."""
        return self._database is not None or (self.folder / FILE).exists()

    def path(self, file_id: str) -> Path:
        """Where the content of a file is."""
        return self.folder / file_id

    async def do(self, act: Callable[[Database], T]) -> T:
        """Ask or change something. Raises what ``act`` does, and :class:`GatewayError` (UNAVAILABLE) where the disk
        fails.
        """
        if self._waiting >= MOST_WAITING:
            raise GatewayError(Kind.UNAVAILABLE, "store_busy", "Too much is asked of stored files.", retry_after=1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: act(self._opened()))
        except GatewayError:
            raise
        except Exception as error:
            raise unavailable(error) from None
        finally:
            self._waiting -= 1

    def _opened(self) -> Database:
        if self._database is None:
            self._database = Database(self.folder)
        return self._database

    async def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown(wait=False)


def unavailable(error: Exception) -> GatewayError:
    """What a client is told where the disk fails; the log has why."""
    logger.error("stored files can't be reached", extra={"detail": str(error)})
    return GatewayError(Kind.UNAVAILABLE, "store_unavailable", "Stored files can't be reached now.", retry_after=1)
