"""Bodies of several megabytes: how they are kept until they are whole, and taken apart without being unfolded.

A JSON body unfolds to many times its size. So it waits in a file until all of it is there, one is handled at a time,
and of its members those named ``sliced`` are lists whose items stay JSON text until somebody reads them one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Any, NamedTuple

import msgspec
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import Receive

from gateway.kernel.memory import give_back

IN_MEMORY = 1_048_576  # bytes, up to which a body waits in memory
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Text(NamedTuple):
    """An item of a list in a body, as JSON that nobody has read yet."""

    raw: msgspec.Raw

    @property
    def size(self) -> int:
        """How many bytes."""
        return memoryview(self.raw).nbytes

    def read(self) -> Any:
        """The value. Raises ValueError or RecursionError where it is none."""
        return json.loads(bytes(self.raw))


class SlicedRequest(Request):
    """A request whose ``whole`` body is there, and in whose JSON the items of the list ``sliced`` are :class:`Text`."""

    sliced = ""

    def __init__(self, request: Request, whole: bytes) -> None:
        super().__init__(request.scope, request.receive)
        self._whole = whole

    async def body(self) -> bytes:
        """All of it, kept once."""
        return self._whole

    async def json(self) -> Any:
        """The body, read as every other where it can't be taken apart, so that its faults are told as everywhere."""
        body = self._whole
        try:
            members = _members(body)
            return {
                name: [Text(item) for item in _items(raw)] if name == self.sliced else json.loads(bytes(raw))
                for name, raw in members.items()
            }
        except (msgspec.DecodeError, ValueError, RecursionError):
            return json.loads(body)


class Turns:
    """Takes one large body at a time. ``large`` is a lock that it is handled under, with what others handle so."""

    def __init__(self, large: asyncio.Lock | None = None) -> None:
        self._turn = asyncio.Lock()  # of bodies alone, so that others wait for one of them at most
        self._large = asyncio.Lock() if large is None else large

    @contextlib.asynccontextmanager
    async def whole(self, receive: Receive, folder: str | None) -> AsyncIterator[bytes]:
        """A body, for the time of the block, which begins when all of it is there: a slow client keeps nobody waiting.

        ``folder`` is where a large one waits, in a file without a name.
        """
        with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=folder) as kept:
            await _spool(receive, kept)
            large = kept.tell() > IN_MEMORY
            async with contextlib.AsyncExitStack() as stack:
                if large:
                    await stack.enter_async_context(self._turn)
                    await stack.enter_async_context(self._large)
                kept.seek(0)
                try:
                    yield kept.read()
                finally:
                    if large:
                        give_back()


async def _spool(receive: Receive, kept: IO[bytes]) -> None:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise HTTPException(400)  # the client has left
        kept.write(message.get("body", b""))
        if not message.get("more_body", False):
            return
