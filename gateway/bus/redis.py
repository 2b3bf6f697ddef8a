"""Changes through Redis, for data planes on several machines; lookups still go to a sidecar over HTTP.

Import this module only where ``redis_url`` is set: it needs the ``redis`` extra and loads its library.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.bus.connection import Hearing
from gateway.bus.embedded import EmbeddedPolicy, everything
from gateway.bus.policy import Query
from gateway.contract.catalogue import Details
from gateway.contract.learned_routes import LearnedRoutes
from gateway.contract.policy import Change, Resolution
from gateway.contract.prices import Priced, Prices
from gateway.contract.stream import FIELD, STREAM, entry_id, entry_seq

BLOCK_MS = 1000
BATCH = 1000
ANSWER_SECONDS = 3.0  # beyond BLOCK_MS

_change = msgspec.json.Decoder(Change).decode


class RedisPolicy:
    """A :class:`~gateway.bus.policy.PolicySource`: ``sidecar`` answers lookups, the stream in Redis tells of changes.

    ``on_connection`` is called with whether changes are heard, each time that turns.
    """

    def __init__(
        self, redis_url: str, sidecar: EmbeddedPolicy, on_connection: Callable[[bool], None] | None = None
    ) -> None:
        self.sidecar = sidecar
        self.hearing = Hearing("Redis", on_connection)
        self.seq: int | None = None
        """The number of the last change that was heard; None before the first connection."""
        self._redis: Redis = Redis.from_url(
            redis_url,
            protocol=2,
            socket_timeout=BLOCK_MS / 1000 + ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
        )

    @property
    def connected(self) -> bool:
        """Whether changes are being heard now."""
        return self.hearing.connected

    async def resolve(self, query: Query) -> Resolution:
        """See :meth:`gateway.bus.policy.PolicySource.resolve`."""
        return await self.sidecar.resolve(query)

    async def prices(self, targets: Sequence[Priced]) -> Prices:
        """See :meth:`gateway.bus.policy.PriceSource.prices`."""
        return await self.sidecar.prices(targets)

    async def details(self, targets: Sequence[Priced]) -> Sequence[Details]:
        """See :meth:`gateway.bus.policy.DetailSource.details`."""
        return await self.sidecar.details(targets)

    async def routes(self, organization: str) -> LearnedRoutes:
        """See :meth:`gateway.bus.policy.RouteSource.routes`."""
        return await self.sidecar.routes(organization)

    def changes(self) -> AsyncGenerator[Change | None, None]:
        """See :meth:`gateway.bus.policy.PolicySource.changes`."""
        return self.hearing.changes(self._heard, (RedisError, OSError, msgspec.DecodeError, ValueError))

    async def _heard(self) -> AsyncGenerator[Change | None, None]:
        """The changes until Redis fails."""
        while True:
            yield await self._caught_up()
            while entries := await self._read():
                for entry, fields in entries:
                    yield self._take(entry_seq(entry), fields)

    async def _caught_up(self) -> Change | None:
        """Compare with the end of the stream: a Redis that lost its memory, or a database put back, ends earlier."""
        last: Any = await self._redis.xrevrange(STREAM, count=1)
        seq = entry_seq(last[0][0]) if last else 0
        if self.seq is not None and self.seq <= seq:
            return None
        self.seq = seq
        return everything(seq)

    async def _read(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        found: Any = await self._redis.xread({STREAM: entry_id(self.seq or 0)}, count=BATCH, block=BLOCK_MS)
        return found[0][1] if found else []

    def _take(self, seq: int, fields: dict[bytes, bytes]) -> Change:
        known, self.seq = self.seq or 0, seq
        # Entries that were cut off before they were read leave a gap.
        return _change(fields[FIELD.encode()]) if seq == known + 1 else everything(seq)

    async def close(self) -> None:
        """Close every connection. Iterating :meth:`changes` ends within a second, or by closing the iterator."""
        self.hearing.close()
        await self._redis.aclose()
        await self.sidecar.close()
