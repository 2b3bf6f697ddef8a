"""What of the configuration is taken up at a start and never after it."""

from __future__ import annotations

import logging

from gateway.settings.model import Settings

_log = logging.getLogger("gateway.supervisor")


def warn_of_fixed(old: Settings, new: Settings) -> None:
    """Log each change that has no effect until the next start."""
    for name, before, after in (
        ("server.host", old.server.host, new.server.host),
        ("server.port", old.server.port, new.server.port),
        ("server.workers", old.server.workers, new.server.workers),
        ("data_dir", old.data_dir, new.data_dir),
        ("database_url", old.database_url, new.database_url),
        ("redis_url", old.redis_url, new.redis_url),
        ("sidecar.listen", old.sidecar.listen, new.sidecar.listen),
        ("sidecar.url", old.sidecar.url, new.sidecar.url),
    ):
        if before != after:
            _log.warning("%s has changed; that takes effect at the next start", name)
