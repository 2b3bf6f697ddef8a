"""Choosing where usage comes from: the files of this machine's workers, or Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.domain.ledger.rating import Rater
from gateway.settings.model import Settings
from gateway.sidecar.ingest import Ingester
from gateway.store.engine import Store

if TYPE_CHECKING:
    from gateway.sidecar.stream import Consumer


def ingester(settings: Settings, store: Store, rater: Callable[[], Awaitable[Rater]]) -> Ingester | Consumer:
    """What enters usage into the ledger: through Redis alone where there is one, so that nothing comes two ways."""
    if settings.redis_url is None:
        return Ingester(store, Path(settings.data_dir) / "usage", rater)
    # Only a gateway with Redis pays for this import.
    from gateway.sidecar.stream import Consumer  # noqa: PLC0415

    return Consumer(store, settings.redis_url, rater)
