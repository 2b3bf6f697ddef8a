"""The sidecar over HTTP: lookups as requests, changes as one endless answer of JSON lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar
from urllib.parse import quote

import msgspec

from gateway.bus.bulk import UNDER_WAY, Bulk
from gateway.bus.connection import Hearing
from gateway.bus.http import Client, Refused, parse_address
from gateway.bus.policy import PolicyUnavailable, Query
from gateway.contract.catalogue import Details
from gateway.contract.internal import HEADER, PREFIX, internal_token
from gateway.contract.learned_routes import LearnedRoutes
from gateway.contract.policy import Change, Resolution
from gateway.contract.prices import Priced, Prices

T = TypeVar("T")

RESOLVE_SECONDS = 2.0
PRICES_SECONDS = 10.0  # the list of default prices may have to be loaded first
CONNECT_SECONDS = 2.0
# The sidecar writes at least an empty line a second: after three missing ones the connection is dead.
QUIET_SECONDS = 3.5


class Head(msgspec.Struct):
    """The first line of the stream of changes: the number of the last change so far."""

    seq: int


_encode = msgspec.json.Encoder().encode
_resolution = msgspec.json.Decoder(Resolution).decode
_resolutions = msgspec.json.Decoder(list[Resolution]).decode
_prices = msgspec.json.Decoder(Prices).decode
_details = msgspec.json.Decoder(list[Details]).decode
_routes = msgspec.json.Decoder(LearnedRoutes).decode
_change = msgspec.json.Decoder(Change).decode
_head = msgspec.json.Decoder(Head).decode


class EmbeddedPolicy:
    """A :class:`~gateway.bus.policy.PolicySource` over a Unix socket or TCP.

    ``address`` is ``unix:/path`` or ``http(s)://host:port``. ``on_connection`` is called with whether changes are
    heard, each time that turns. Raises ValueError for an address that is none.
    """

    def __init__(self, address: str, master_key: str, on_connection: Callable[[bool], None] | None = None) -> None:
        self.client = Client(parse_address(address), RESOLVE_SECONDS)
        # Connections of their own: tokens whose issuer is slow must not keep keys waiting.
        self._keys = Client(self.client.address, RESOLVE_SECONDS, UNDER_WAY)
        self._prices = Client(self.client.address, PRICES_SECONDS, 1)
        self._bulk = Bulk(self._ask)
        self.hearing = Hearing("the sidecar", on_connection)
        self.seq: int | None = None
        """The number of the last change that was heard; None before the first connection."""
        self._headers = {HEADER: internal_token(master_key)}

    @property
    def connected(self) -> bool:
        """Whether changes are being heard now."""
        return self.hearing.connected

    async def resolve(self, query: Query) -> Resolution:
        """See :meth:`gateway.bus.policy.PolicySource.resolve`."""
        if query.token is None:
            return await self._bulk.resolve(query)
        return await self._answer(self.client, "resolve", _encode(query), _resolution)

    async def prices(self, targets: Sequence[Priced]) -> Prices:
        """See :meth:`gateway.bus.policy.PriceSource.prices`."""
        return await self._answer(self._prices, "prices", _encode(targets), _prices)

    async def details(self, targets: Sequence[Priced]) -> Sequence[Details]:
        """See :meth:`gateway.bus.policy.DetailSource.details`."""
        told = await self._answer(self._prices, "models", _encode(targets), _details)
        if len(told) != len(targets):
            raise PolicyUnavailable(f"the sidecar told of {len(told)} of {len(targets)} models")
        return told

    async def routes(self, organization: str) -> LearnedRoutes:
        """See :meth:`gateway.bus.policy.RouteSource.routes`."""
        operation = f"routes?organization={quote(organization, safe='')}"
        return await self._answer(self.client, operation, b"", _routes, "GET")

    async def _ask(self, queries: Sequence[Query]) -> Sequence[Resolution]:
        return await self._answer(self._keys, "resolve", _encode(queries), _resolutions)

    async def _answer(
        self, client: Client, operation: str, body: bytes, decode: Callable[[bytes], T], method: str = "POST"
    ) -> T:
        try:
            answer = await client.request(method, PREFIX + operation, self._headers, body)
        except TimeoutError:
            raise PolicyUnavailable(f"the sidecar did not answer within {client.deadline:g} s") from None
        except OSError as error:
            raise PolicyUnavailable(f"the sidecar cannot be asked: {error}") from None
        if answer.status != 200:
            raise PolicyUnavailable(f"the sidecar answered with status {answer.status}")
        try:
            return decode(answer.body)
        except msgspec.DecodeError as error:
            raise PolicyUnavailable(f"the sidecar's answer cannot be read: {error}") from None

    async def poke(self) -> bool:
        """Have the sidecar look at once for changes that this process has committed; whether it could be told.

        One that was not told looks by itself within half a second.
        """
        try:
            return (await self.client.request("POST", "/internal/poke", self._headers, b"")).status == 204
        except OSError:
            return False

    def changes(self) -> AsyncGenerator[Change | None, None]:
        """See :meth:`gateway.bus.policy.PolicySource.changes`."""
        return self.hearing.changes(self._heard, (OSError, msgspec.DecodeError))

    async def _heard(self) -> AsyncGenerator[Change | None, None]:
        """The changes of one connection."""
        after = self.seq
        path = "/internal/changes" if after is None else f"/internal/changes?after={after}"
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await self.client.connect()
        try:
            connection.send("GET", path, self._headers)
            async with asyncio.timeout(QUIET_SECONDS):
                status = await connection.head()
            if status != 200:
                raise Refused(f"the sidecar answered with status {status}")
            async with aclosing(connection.lines()) as lines:
                seq = _head(await _next(lines)).seq
                # What was learnt before the first connection, or from a database that was since put back, may be stale.
                yield self._note(everything(seq) if after is None or seq < after else None)
                while True:
                    line = await _next(lines)
                    yield self._note(_change(line) if line else None)
        finally:
            connection.close()

    def _note(self, change: Change | None) -> Change | None:
        if change is not None:
            self.seq = change.seq
        return change

    async def close(self) -> None:
        """Close the kept connections. Iterating :meth:`changes` ends within a second, or by closing the iterator."""
        self.hearing.close()
        self._bulk.close()
        self._keys.close()
        self._prices.close()
        self.client.close()


def everything(seq: int) -> Change:
    """The change that says: all that was learnt before ``seq`` may be stale."""
    return Change(seq=seq, at_ns=time.time_ns(), kind="everything", id="")


async def _next(lines: AsyncGenerator[bytes, None]) -> bytes:
    async with asyncio.timeout(QUIET_SECONDS):
        try:
            return await anext(lines)
        except StopAsyncIteration:
            raise Refused("the stream of changes ended") from None
