"""The provider itself: reads requests, picks the fault by the model's name, and keeps what it saw."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.faults.upstream.call import Call
from tests.faults.upstream.dialects import dialect_of
from tests.faults.upstream.registry import every
from tests.support.raw_upstream import WAIT, Peer, RawUpstream, raw_upstream


class FaultyProvider:
    """``calls`` are the requests in the order in which they came."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.started = time.monotonic()
        self.upstream = RawUpstream(self.serve)
        self._faults = every()
        self._counts: Counter[str] = Counter()
        self._more = asyncio.Event()

    @property
    def base_url(self) -> str:
        """Where the gateway finds it."""
        return self.upstream.base_url

    async def serve(self, peer: Peer) -> None:
        """One connection."""
        while not peer.writer.is_closing():
            request = await peer.request()
            dialect = dialect_of(request)
            model = dialect(peer, request, 0).model
            self._counts[model] += 1
            call = dialect(peer, request, self._counts[model])
            self.calls.append(call)
            self._more.set()
            await self._faults[model].serve(call)

    async def called(self, count: int = 1) -> list[Call]:
        """The calls, once there are ``count``."""
        async with asyncio.timeout(WAIT):
            while len(self.calls) < count:
                self._more.clear()
                await self._more.wait()
        return self.calls

    async def given_up(self, index: int = -1) -> float:
        """When the gateway gave a call up; waits for it."""
        call = self.calls[index]
        async with asyncio.timeout(WAIT):
            await call.left.wait()
        return call.left_at

    @property
    def gaps(self) -> list[float]:
        """Seconds between one call and the next."""
        return [after.at - before.at for before, after in zip(self.calls, self.calls[1:], strict=False)]


@asynccontextmanager
async def faulty_provider(port: int = 0) -> AsyncIterator[FaultyProvider]:
    """A provider on loopback for the duration of the block. An error in a fault's own code fails the test."""
    provider = FaultyProvider()
    async with raw_upstream(provider.serve, port=port) as upstream:
        provider.upstream = upstream
        yield provider
