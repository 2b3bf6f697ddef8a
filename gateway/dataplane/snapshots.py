"""What the processes of one gateway tell each other of their counters: a small file each, in ``data_dir/run``.

Whichever worker answers ``GET /metrics`` adds its own numbers to those of the others. A worker that is started again
goes on from the file of the one before it, so that no counter falls. Files are named for the run of the gateway they
belong to; those of runs that are over are removed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec import Struct

from gateway.kernel.processes import is_alive

logger = logging.getLogger("gateway.metrics")

Labels: TypeAlias = tuple[str, ...]
SeriesKey: TypeAlias = tuple[str, str, str | None, str | None, int, str]
"""Endpoint, model, provider, target, status, outcome."""

_NAME = re.compile(r"metrics-(?P<run>(?P<pid>[0-9]+)-[0-9a-f]+)-(?P<name>[a-z0-9-]+)\.msgpack(\.new)?\Z")


class Snapshot(Struct, array_like=True):
    """The numbers of one process. Gauges and counters are by family, then by label values."""

    pid: int = 0
    series: dict[SeriesKey, list[int]] = {}
    counters: dict[str, dict[Labels, float]] = {}
    gauges: dict[str, dict[Labels, float]] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Snapshot).decode


def merge(snapshots: Iterable[Snapshot], largest: frozenset[str], least: frozenset[str]) -> Snapshot:
    """The sum of several. Gauges of ``largest`` and ``least`` are not added: the largest or the least is kept."""
    total = Snapshot(series={}, counters={}, gauges={})
    for snapshot in snapshots:
        for key, series in snapshot.series.items():
            before = total.series.get(key)
            total.series[key] = list(series) if before is None else [a + b for a, b in zip(before, series, strict=True)]
        for name, counts in snapshot.counters.items():
            sums = total.counters.setdefault(name, {})
            for labels, value in counts.items():
                sums[labels] = sums.get(labels, 0) + value
        for name, values in snapshot.gauges.items():
            kept = total.gauges.setdefault(name, {})
            for labels, value in values.items():
                if labels not in kept:
                    kept[labels] = value
                elif name in largest:
                    kept[labels] = max(kept[labels], value)
                elif name in least:
                    kept[labels] = min(kept[labels], value)
                else:
                    kept[labels] += value
    return total


class SnapshotFiles:
    """The files of one run. ``name`` is this process's: ``worker-0``, ``supervisor``.

    ``run`` is the supervisor's process id, a hyphen and a random number in hexadecimal.
    """

    def __init__(self, directory: Path, run: str, name: str) -> None:
        self._directory = directory
        self._run = run
        self._name = name
        self._path = directory / f"metrics-{run}-{name}.msgpack"
        self._last = b""
        self._failing = False

    def open(self) -> Snapshot | None:
        """Make the directory, remove what earlier runs left, and return what a process of this name had counted."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in self._directory.iterdir():
                match = _NAME.match(path.name)
                if match is not None and match["run"] != self._run and self._is_over(int(match["pid"])):
                    path.unlink(missing_ok=True)
        except OSError as error:
            self._complain(error)
        return _read(self._path)

    def _is_over(self, pid: int) -> bool:
        # A container's first process has the same id in every run.
        return self._run.startswith(f"{pid}-") or not is_alive(pid)

    def publish(self, snapshot: Snapshot) -> None:
        """Replace this process's file, if anything changed. A disk that takes no more costs the others' view only."""
        data = _encode(snapshot)
        if data == self._last:
            return
        fresh = self._path.with_suffix(".msgpack.new")
        try:
            fresh.write_bytes(data)
            fresh.replace(self._path)
        except OSError as error:
            self._complain(error)
            return
        self._last = data
        self._failing = False

    def clear(self) -> None:
        """Remove the files of every process of this run."""
        for path in self._directory.glob(f"metrics-{self._run}-*"):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _complain(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("counters can't be shared between the workers", extra={"reason": str(error)})

    def others(self) -> dict[str, Snapshot]:
        """What the other processes of this run published last, by name, without the gauges of those that have died."""
        found = {}
        for path in self._directory.glob(f"metrics-{self._run}-*.msgpack"):
            match = _NAME.match(path.name)
            snapshot = _read(path) if match is not None and path != self._path else None
            if match is not None and snapshot is not None:
                if not is_alive(snapshot.pid):
                    snapshot.gauges = {}
                found[match["name"]] = snapshot
        return found


class Tally:
    """Counters of the supervisor, which answers no requests: each is published when it changes."""

    def __init__(self, data_dir: str, run: str) -> None:
        self._files = SnapshotFiles(Path(data_dir) / "run", run, "supervisor")
        self._snapshot = Snapshot(os.getpid(), {}, {}, {})
        self._files.open()
        self._files.publish(self._snapshot)

    def reloaded(self, ok: bool) -> None:
        """The configuration was read again; not ``ok``: it is faulty and the old one stays."""
        self._snapshot.gauges["gateway_config_last_reload_successful"] = {(): float(ok)}
        self._count("gateway_config_reloads", ("supervisor", "ok" if ok else "failed"))

    def restarted(self, process: str) -> None:
        """A process ended by itself and is started again."""
        self._count("gateway_process_restarts", (process.replace(" ", "-"),))

    def replaced(self, ok: bool) -> None:
        """A worker was replaced; not ``ok``: the new one did not start, and the old one stays."""
        self._count("gateway_worker_replacements", ("ok" if ok else "failed",))

    def _count(self, family: str, labels: Labels) -> None:
        counts = self._snapshot.counters.setdefault(family, {})
        counts[labels] = counts.get(labels, 0) + 1
        self._files.publish(self._snapshot)

    def close(self) -> None:
        """The gateway has ended, and its files are of no more use."""
        self._files.clear()


def _read(path: Path) -> Snapshot | None:
    try:
        return _decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        logger.warning("counters can't be read", extra={"file": str(path), "reason": str(error)})
        return None
