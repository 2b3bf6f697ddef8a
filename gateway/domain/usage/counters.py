"""How much of limits is used, as the data plane counts it: from its files on this machine, or from Redis."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from gateway.contract.policy import LimitPolicy
from gateway.contract.windows import slid, window_bounds

logger = logging.getLogger("gateway.usage")

_BATCH = 500  # SQLite takes 999 parameters in its oldest builds
_Row = tuple[str, int, int, int]


class Counters(Protocol):
    """What is used of limits. :class:`gateway.bus.leases.RedisUsage` is one."""

    async def used(self, keys: Sequence[str], now: float) -> dict[str, int]:
        """What is used of each limit (by :attr:`~gateway.contract.policy.LimitPolicy.key`) in the window that holds
        Unix time ``now``, in the metric's unit; 0 where nothing is known.

        Raises :class:`ValueError` for what is no key.
        """

    async def close(self) -> None:
        """Let go of what is held."""


class FileCounters:
    """Reads the ``limits*.db`` that each worker keeps in ``data_dir`` and writes twice a second.

    Several workers count each for itself, and the sum is told. What is held at once is in no file and counts as 0. A
    file that can't be read counts as empty, and is logged.
    """

    def __init__(self, data_dir: str | Path) -> None:
        self._folder = Path(data_dir)

    async def used(self, keys: Sequence[str], now: float) -> dict[str, int]:
        """See :meth:`Counters.used`."""
        policies = {key: LimitPolicy.of_key(key) for key in keys}
        counted = dict.fromkeys(keys, 0)
        for row in await asyncio.to_thread(self._rows, list(policies)):
            counted[row[0]] += _in_window(policies[row[0]], row, now)
        return counted

    async def close(self) -> None:
        """Nothing is held."""

    def _rows(self, keys: list[str]) -> list[_Row]:
        rows: list[_Row] = []
        for path in sorted(self._folder.glob("limits*.db")):
            try:
                rows.extend(_read(path, keys))
            except sqlite3.Error as error:
                logger.warning("counters can't be read", extra={"file": path.name, "reason": str(error)})
        return rows


def _read(path: Path, keys: list[str]) -> Iterator[_Row]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as database:
        for start in range(0, len(keys), _BATCH):
            some = keys[start : start + _BATCH]
            marks = ",".join("?" * len(some))
            query = f"SELECT key, window_start, used, previous FROM counters WHERE key IN ({marks})"  # noqa: S608 - marks
            yield from database.execute(query, some)


def _in_window(policy: LimitPolicy, row: _Row, now: float) -> int:
    """What a row that was written in some window comes to in the window that holds ``now``."""
    if policy.window is None:
        return 0
    _, start, used, previous = row
    bounds = window_bounds(policy.window, now)
    if start != int(bounds[0]):
        # Written before this window began: of a sliding one, the window before may still reach into it.
        adjacent = policy.sliding and start < bounds[0] and window_bounds(policy.window, start)[1] == bounds[0]
        used, previous = 0, used if adjacent else 0
    return slid(used, previous, bounds, now) if policy.sliding else used


def open_counters(redis_url: str | None, data_dir: str) -> Counters:
    """The counters of this deployment."""
    if redis_url is None:
        return FileCounters(data_dir)
    # Only a deployment with Redis has its library.
    from gateway.bus.lease_usage import RedisUsage  # noqa: PLC0415

    return RedisUsage(redis_url)
