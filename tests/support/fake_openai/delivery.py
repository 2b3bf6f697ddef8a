"""Puts an answer on the wire the way its :class:`Behaviour` says, and stops when the client leaves."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

import brotli
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.support.fake_openai.behaviours import Behaviour
from tests.support.fake_openai.gates import Gates
from tests.support.fake_openai.recording import Recorded, Recording

_PACE = 0.01
"""Seconds between the events of an endless stream."""
_SEGMENT_PAUSE = 0.0003
"""Seconds between the writes of a cut event, so that they travel apart."""


class _Coder(Protocol):
    def process(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...
    def finish(self) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._coder = zlib.compressobj(wbits=31)

    def process(self, data: bytes) -> bytes:
        return self._coder.compress(data)

    def flush(self) -> bytes:
        return self._coder.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._coder.flush(zlib.Z_FINISH)


class _Identity:
    def process(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""

    def finish(self) -> bytes:
        return b""


def _coder(behaviour: Behaviour) -> _Coder:
    if behaviour.encoding == "gzip":
        return _Gzip()
    return brotli.Compressor() if behaviour.encoding == "br" else _Identity()


class Delivery(Response):
    """A response of ``pieces``: one piece for a plain answer, one per event for a stream."""

    def __init__(
        self,
        behaviour: Behaviour,
        pieces: list[bytes],
        *,
        media_type: str,
        streamed: bool,
        status: int = 200,
        headers: dict[str, str] | None = None,
        gate: str = "",
    ) -> None:
        self._behaviour = behaviour
        self._pieces = pieces
        self._streamed = streamed
        self._gate = gate
        self.status_code = status
        self.media_type = media_type
        self._extra_headers = headers or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request: Recorded = scope["state"]["recorded"]
        sender = asyncio.create_task(self._deliver(scope, send, request))
        watcher = asyncio.create_task(_disconnected(receive))
        await asyncio.wait({sender, watcher}, return_when=asyncio.FIRST_COMPLETED)
        watcher.cancel()
        if not sender.done():
            sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sender

    async def _deliver(self, scope: Scope, send: Send, request: Recorded) -> None:
        behaviour, gates = self._behaviour, _gates(scope)
        if behaviour.silent:
            await asyncio.Event().wait()
        if behaviour.gate == "head":
            await gates.wait(self._gate)
        coder = _coder(behaviour)
        whole = b"" if self._streamed else coder.process(b"".join(self._pieces)) + coder.finish()
        await send({"type": "http.response.start", "status": self.status_code, "headers": self._head(whole)})
        if not self._streamed:
            await self._plain(send, request, whole)
            return
        for piece in self._events():
            if behaviour.gate == "events":
                await gates.wait(self._gate)
            await self._write(send, coder.process(piece) + coder.flush())
            _recording(scope).update(lambda: _count(request))
            if behaviour.ends == "endless":
                await asyncio.sleep(_PACE)
        if behaviour.ends == "stuck":
            await asyncio.Event().wait()
        if behaviour.ends == "cut":
            await _break(send, request, b'data: {"id":"half an ev')
        await send({"type": "http.response.body", "body": coder.finish()})

    async def _plain(self, send: Send, request: Recorded, whole: bytes) -> None:
        if self._behaviour.ends == "cut":
            await _break(send, request, whole[: len(whole) // 2])
            return
        await send({"type": "http.response.body", "body": whole})

    def _events(self) -> Iterator[bytes]:
        join = self._behaviour.join
        for start in range(0, len(self._pieces), join):
            yield b"".join(self._pieces[start : start + join])
        while self._behaviour.ends == "endless":
            yield self._pieces[-1]

    async def _write(self, send: Send, data: bytes) -> None:
        size = self._behaviour.cut
        if not size:
            await send({"type": "http.response.body", "body": data, "more_body": True})
            return
        for start in range(0, len(data), size):
            await send({"type": "http.response.body", "body": data[start : start + size], "more_body": True})
            await asyncio.sleep(_SEGMENT_PAUSE)

    def _head(self, whole: bytes) -> list[tuple[bytes, bytes]]:
        headers = {"content-type": self.media_type or "application/json", **self._extra_headers}
        if self._behaviour.encoding:
            headers["content-encoding"] = self._behaviour.encoding
        if not self._streamed and not self._behaviour.chunked:
            headers["content-length"] = str(len(whole))
        if self._behaviour.close:
            headers["connection"] = "close"
        return [(name.encode(), value.encode()) for name, value in headers.items()]


async def _break(send: Send, request: Recorded, last: bytes) -> None:
    """Send ``last``, then reset the connection."""
    await send({"type": "http.response.body", "body": last, "more_body": True})
    await asyncio.sleep(_PACE)
    if request.connection.transport is not None:
        request.connection.transport.abort()
    await asyncio.sleep(_PACE)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _count(request: Recorded) -> None:
    request.chunks_sent += 1


def _gates(scope: Scope) -> Gates:
    gates: Any = scope["state"]["gates"]
    assert isinstance(gates, Gates)
    return gates


def _recording(scope: Scope) -> Recording:
    recording: Any = scope["state"]["recording"]
    assert isinstance(recording, Recording)
    return recording
