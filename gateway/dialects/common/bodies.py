"""Bodies of several megabytes: how they are kept until they are whole, and taken apart without being unfolded.

A JSON body unfolds to many times its size. So it waits in a file until all of it is there, and stays in it: one is
handled at a time, and the items of the list that is ``sliced`` are read from there one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Any

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import Receive

from gateway.dialects.common.slices import Text, members_of
from gateway.kernel.memory import give_back

__all__ = ["IN_MEMORY", "SlicedRequest", "Text", "Turns"]

IN_MEMORY = 1_048_576  # bytes, up to which a body waits in memory
_LOOK = 1_024  # bytes


class SlicedRequest(Request):
    """A request whose body is ``kept`` in a file, and in whose JSON the items of the list ``sliced`` are :class:`Text`.

    These are read from the file, so as long as it is open.
    """

    sliced = ""

    def __init__(self, request: Request, kept: IO[bytes]) -> None:
        super().__init__(request.scope, request.receive)
        self._kept = kept

    async def body(self) -> bytes:
        """How it begins: whether there is any, which FastAPI asks for first."""
        self._kept.seek(0)
        return self._kept.read(_LOOK)

    async def json(self) -> Any:
        """The body, read as every other where it can't be taken apart, so that its faults are told as everywhere."""
        try:
            return await asyncio.to_thread(members_of, self._kept, self.sliced)
        except (ValueError, RecursionError):
            self._kept.seek(0)
            return json.loads(self._kept.read())


class Turns:
    """Takes one large body at a time. ``large`` is a lock that it is handled under, with what others handle so."""

    def __init__(self, large: asyncio.Lock | None = None) -> None:
        self._turn = asyncio.Lock()  # of bodies alone, so that others wait for one of them at most
        self._large = asyncio.Lock() if large is None else large

    @contextlib.asynccontextmanager
    async def whole(self, receive: Receive, folder: str | None) -> AsyncIterator[IO[bytes]]:
        """A body, as the file it is in, for the time of the block, which begins when all of it is there: a slow client
        keeps nobody waiting.

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
                    yield kept
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
