"""Settling what a worker before this one leased and spent, where limits are shared.

A worker tells what it spent once a second. Of one that was killed, the rest is known from its usage log: the next
worker on the same ``data_dir`` reads it, tells it, and ends the dead one's leases without waiting until they expire.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from gateway.bus.backoff import Backoff
from gateway.contract.leases import StoreUnavailable, Window
from gateway.contract.policy import LimitPolicy
from gateway.contract.usage import UsageEvent
from gateway.contract.windows import window_bounds
from gateway.dataplane.admission import replay
from gateway.kernel.files import replace

logger = logging.getLogger("gateway.limits")

MOST = 100  # workers that ended while the store was away; those before them are left to expire


class Estate(Protocol):
    """What is asked of the store about a worker that is gone."""

    async def known(self, node: str) -> dict[tuple[str, int], int]:
        """What it is known to have spent, by limit key and start of the window."""

    async def retire(self, node: str, spends: Sequence[tuple[Window, int]] = ()) -> None:
        """End it; ``spends`` is all that it spent."""


class Log(Protocol):
    """What is needed of the usage log."""

    def mark(self) -> str:
        """Where it ends now."""

    def since(self, mark: str, until: str | None = None) -> Iterator[UsageEvent]:
        """The events between two marks."""


class Life(msgspec.Struct):
    """A worker, and where the usage log stood when it began."""

    node: str
    mark: str


class Predecessors:
    """The workers of one place that ended without settling, in the file ``path``, and this one."""

    def __init__(self, path: Path, node: str, log: Log) -> None:
        self._path = path
        self._log = log
        self._lives: list[Life] = []
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            self._lives = msgspec.json.decode(path.read_bytes(), type=list[Life])
        self._lives = [*self._lives[-MOST:], Life(node, log.mark())]
        self._write()

    async def settle(self, store: Estate) -> None:
        """Settle every one but this, however long the store is away."""
        backoff = Backoff()
        while len(self._lives) > 1:
            gone, next_one = self._lives[:2]
            try:
                known = await store.known(gone.node)
                # Off the event loop: the log of a worker that lived long takes seconds to read.
                spent = await asyncio.to_thread(self._spent, known, gone.mark, next_one.mark)
                await store.retire(gone.node, spent)
            except StoreUnavailable:
                await asyncio.sleep(backoff.next())
                continue
            self._lives.pop(0)
            self._write()

    def ended_well(self) -> None:
        """This one has given everything back."""
        self._lives.pop()
        self._write()

    def _spent(self, known: dict[tuple[str, int], int], mark: str, until: str) -> list[tuple[Window, int]]:
        limits = [(key, start, LimitPolicy.of_key(key)) for key, start in known]
        windowed = [limit for limit in limits if limit[2].window is not None]
        sums = {(key, start): 0 for key, start, _ in windowed}
        of_scope: dict[tuple[str, str], list[tuple[str, int, LimitPolicy]]] = {}
        for limit in windowed:
            of_scope.setdefault((limit[2].scope, limit[2].scope_id), []).append(limit)
        for event in self._log.since(mark, until) if windowed else ():
            for scope in set(replay.scopes_of(event)):
                for key, start, policy in of_scope.get(scope, ()):
                    assert policy.window is not None
                    begun = window_bounds(policy.window, event.started_ns / 1e9)[0]
                    if int(begun) == start and replay.counts(policy, event):
                        sums[key, start] += replay.amount_of(policy.metric, event)
        found = []
        for key, start, policy in windowed:
            spent = max(sums[key, start], known[key, start])
            if spent:
                assert policy.window is not None
                begins, ends = window_bounds(policy.window, float(start))
                found.append((Window.starting(key, policy, begins, ends), spent))
        return found

    def _write(self) -> None:
        replace(self._path, msgspec.json.encode(self._lives))
