"""What a worker has of files and batches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.dataplane.batching.runner import Runner
from gateway.dataplane.batching.store import FOLDER, Store
from gateway.dataplane.batching.uploading import Uploads
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.settings.model import Batches


class Batching:
    """The parts. What is kept is in a folder of ``data_dir``."""

    def __init__(self, worker: Worker, data_dir: Path) -> None:
        self._worker = worker
        self.store = Store(data_dir / FOLDER)
        self.uploads = Uploads(self.store)
        self.runner = Runner(worker, self.store)
        self.runner.tell(worker.metrics)

    @property
    def limits(self) -> Batches:
        """The settings in use."""
        return self._worker.runtime.settings.batches

    async def close(self) -> None:
        """Let go of the files; the runner has finished."""
        await self.store.close()


def batching_of(worker: Worker) -> Batching:
    """Raises :class:`GatewayError` where a worker has none."""
    if worker.batching is None:
        raise GatewayError(Kind.UNAVAILABLE, "store_unavailable", "This gateway stores no files.")
    return worker.batching
