"""The process that drains the workers' files to Redis; the supervisor runs one where ``redis_url`` is set.

It has no event loop, and workers have nothing of it on theirs. A lock beside the files keeps a second one waiting until
the first is no more. SIGTERM ends it, once what is written is in Redis or a few seconds are over.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from gateway.bus.backoff import Backoff
from gateway.bus.usage import ANSWER_SECONDS
from gateway.bus.usage_drain import Drain
from gateway.bus.usage_journal import recover

LOOK = 0.1  # seconds
RECOVER = 1.0  # seconds: a worker that was killed may have no successor
FINISH = 3.0  # seconds at the end for what is not sent yet
LOCK = "drain.lock"
STOPPED = 0

logger = logging.getLogger("gateway.usage")


def run(folder: Path, redis_url: str, ready_fd: int) -> int:
    """Drain until SIGTERM; gives the exit code. ``ready_fd`` gets one byte at the start."""
    stop = Stop()
    signal.signal(signal.SIGTERM, stop.set)
    os.write(ready_fd, b"1")
    os.close(ready_fd)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, stop) as ours:
        if ours:
            drain_until(stop, folder, redis_url)
    return STOPPED


class Stop:
    """Whether to end. It can be set from a signal's handler or another thread, and ends a :meth:`wait` at once."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self.is_set = False

    def set(self, *_: object) -> None:
        """End."""
        self.is_set = True
        with contextlib.suppress(OSError):
            self._write.send(b"1")

    def wait(self, seconds: float) -> None:
        """Wait so long, or until it is set."""
        if not self.is_set:
            select.select([self._read], [], [], seconds)

    def close(self) -> None:
        """Let go of what it holds."""
        self._read.close()
        self._write.close()


@contextlib.contextmanager
def locked(folder: Path, stop: Stop) -> Iterator[bool]:
    """Hold the lock of a folder, waiting for it; False where it was told to stop meanwhile. A crash frees it."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield _wait_for(lock, stop)
    finally:
        os.close(lock)


def _wait_for(lock: int, stop: Stop) -> bool:
    told = False
    while not stop.is_set:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                logger.info("usage is drained by another process; this one waits")
            told = True
            stop.wait(1.0)
        else:
            return True
    return False


def connected(redis_url: str) -> Redis:
    """A client, to be used in a ``with`` block; nothing is connected yet."""
    retry = Retry(NoBackoff(), 0)
    timeouts = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": ANSWER_SECONDS}
    return Redis.from_url(redis_url, protocol=2, retry=retry, **timeouts)


def drain_until(stop: Stop, folder: Path, redis_url: str) -> None:
    """Drain a folder whose lock is held, whatever fails meanwhile."""
    with connected(redis_url) as redis:
        drain = Drain(folder, redis)
        backoff = Backoff()
        failing = False
        recovered_at = 0.0
        while not stop.is_set:
            try:
                if time.monotonic() - recovered_at >= RECOVER:
                    recovered_at = time.monotonic()
                    recover(folder)
                if not drain.round():
                    stop.wait(LOOK)
            except (RedisError, OSError) as error:
                # Neither a Redis that is away nor a disk that is full may end it for good; the files wait.
                if not failing:
                    reason = f"{type(error).__name__}: {error}"
                    logger.warning("usage is not sent to Redis now", extra={"reason": reason})
                failing = True
                stop.wait(backoff.next())
            else:
                if failing:
                    logger.info("usage is sent to Redis again")
                failing = False
                backoff.reset()
        _finish(drain)


def _finish(drain: Drain) -> None:
    """Send what is left, as far as it goes; that of workers which were killed too."""
    until = time.monotonic() + FINISH
    try:
        recover(drain.folder)
        while (drain.round() or drain.unsent) and time.monotonic() < until:
            time.sleep(LOOK / 10)
        drain.settle()
    except (RedisError, OSError) as error:
        reason = f"{type(error).__name__}: {error}"
        logger.warning("usage stays on disk", extra={"bytes": drain.unsent, "reason": reason})
