"""Choosing how a worker hears of changes."""

from __future__ import annotations

from collections.abc import Callable

from gateway.bus.embedded import EmbeddedPolicy
from gateway.bus.policy import Source


def policy_source(
    sidecar: str,
    master_key: str,
    redis_url: str | None,
    on_connection: Callable[[bool], None] | None = None,
    *,
    after: int | None = None,
) -> Source:
    """The source of policies and prices at ``sidecar``: ``unix:/path`` or ``http(s)://host:port``.

    Where there is Redis, changes are heard through it. ``on_connection`` is called with whether changes are heard, each
    time that turns. ``after`` is the last change that is known; absent: none, so that all may be stale.
    """
    if redis_url is None:
        embedded = EmbeddedPolicy(sidecar, master_key, on_connection)
        embedded.seq = after
        return embedded
    # Only a gateway with Redis pays for this import.
    from gateway.bus.redis import RedisPolicy  # noqa: PLC0415

    shared = RedisPolicy(redis_url, EmbeddedPolicy(sidecar, master_key), on_connection)
    shared.seq = after
    return shared
