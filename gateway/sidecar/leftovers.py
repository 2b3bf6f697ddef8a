"""Usage that was left in this machine's files where nobody runs that would send it to Redis.

Beside workers a process of their own does that. A sidecar that runs alone, where a whole gateway ran before, has their
files all the same: when nobody has held the lock for a while, they are sent from here.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from gateway.bus.usage_drain import Drain
from gateway.bus.usage_drainer import LOCK, LOOK, Stop, connected
from gateway.bus.usage_files import positions_of, segments
from gateway.bus.usage_journal import recover
from gateway.kernel.tasks import end

PAUSE = 10.0  # seconds
FREE = 3  # looks in a row that found nobody

_log = logging.getLogger("gateway.sidecar.leftovers")


class Leftovers:
    """Sends what is left in ``folder``. Use it as ``async with``."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self._stop = Stop()
        self._sending: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Leftovers:
        self._looking = asyncio.create_task(self._run(), name="leftovers")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await end(self._looking)
        if self._sending is not None:
            await asyncio.gather(self._sending, return_exceptions=True)
        self._stop.close()

    async def _run(self) -> None:
        free = 0
        while True:
            await asyncio.sleep(PAUSE)
            try:
                free = free + 1 if await asyncio.to_thread(self._are_left) else 0
                if free >= FREE:
                    free = 0
                    self._sending = asyncio.ensure_future(asyncio.to_thread(self._send))
                    await asyncio.shield(self._sending)  # a thread ends when it looks at what stops it
            except (RedisError, OSError) as error:
                _log.warning(
                    "usage that was left is not sent now", extra={"reason": f"{type(error).__name__}: {error}"}
                )

    def _are_left(self) -> bool:
        """Whether there are files that are not in the ledger whole, and nobody who sends them."""
        recover(self.folder)
        positions = positions_of(self.folder).files
        if all(positions.get(segment.name, 0) >= segment.size for segment in segments(self.folder)):
            return False
        lock = self._locked()
        if lock is None:
            return False
        os.close(lock)
        return True

    def _locked(self) -> int | None:
        lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _send(self) -> None:
        lock = self._locked()
        if lock is None:
            return
        try:
            with connected(self.redis_url) as redis:
                self._send_all(redis)
        finally:
            os.close(lock)

    def _send_all(self, redis: Redis) -> None:
        drain = Drain(self.folder, redis)
        _log.info("usage that was left here is sent to Redis", extra={"folder": str(self.folder)})
        while not self._stop.is_set:
            if not drain.round():
                if drain.is_over:
                    break
                self._stop.wait(LOOK)
        drain.settle()
