"""What ``GET /metrics`` answers: this worker's numbers and those the other processes published."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from prometheus_client.core import Metric

from gateway.dataplane.exposition import LARGEST, LEAST, families
from gateway.dataplane.metrics import Metrics
from gateway.dataplane.snapshots import Snapshot, SnapshotFiles, merge


class Gathered:
    """The numbers of one moment, a collector for prometheus-client. It shares nothing with the event loop."""

    def __init__(self, total: Snapshot, processes: dict[str, int], more: Sequence[Metric]) -> None:
        self._total = total
        self._processes = processes
        self._more = more

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        return families(self._total, sorted(self._processes.items()), self._more)


class Scrape:
    """Gathers what all processes of the gateway count.

    ``share``: other workers may be asked for this one's numbers, so they are published at each :meth:`tick`. They are
    also published before they are told: what was once told is not forgotten when this process dies.
    """

    def __init__(self, data_dir: str, run: str, name: str, *, share: bool) -> None:
        self._files = SnapshotFiles(Path(data_dir) / "run", run or f"{os.getppid()}-0", name)
        self._name = name
        self._share = share
        self.metrics = Metrics(self._files.open())

    def tick(self) -> None:
        """Publish this worker's numbers; called about once a second."""
        if self._share:
            self.publish()

    def share(self) -> None:
        """From now on there is another worker."""
        self._share = True
        self.publish()

    def publish(self) -> None:
        """Publish this worker's numbers now; also called at its end."""
        self._files.publish(self.metrics.snapshot(os.getpid()))

    def gather(self, more: Sequence[Metric] = ()) -> Gathered:
        """The numbers as they stand, added up, with ``more`` metrics beside them."""
        own = self.metrics.snapshot(os.getpid())
        self._files.publish(own)
        others = self._files.others()
        processes = {self._name: own.pid, **{name: snapshot.pid for name, snapshot in others.items()}}
        return Gathered(merge((own, *others.values()), LARGEST, LEAST), processes, more)
