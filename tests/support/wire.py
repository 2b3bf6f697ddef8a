"""An asyncio HTTP/1.1 client that sends exactly the bytes it is given, for tests that share the gateway's loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from tests.support.raw_upstream import WAIT

_FIELD = b'--b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n'
FORM_START = _FIELD % b"model" + b"m\r\n" + _FIELD % b"file"
"""A form of the boundary ``b`` for the model ``m``, up to where its file begins."""


class Answer:
    """One answer: ``headers`` by lower-case name; ``body`` with chunk framing removed, ``pieces`` chunk by chunk."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers
        self.pieces: list[bytes] = []
        self.complete = False

    @property
    def body(self) -> bytes:
        """What has been read of the body."""
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        """The body parsed as JSON."""
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        """The ``code`` of an error in OpenAI's envelope."""
        return str(self.json["error"]["code"])


class Wire:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Write, and wait until the buffer has room."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> Answer:
        """The next answer's head; its body is left to :meth:`rest` or :meth:`piece`."""
        async with asyncio.timeout(WAIT):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        pairs = (line.decode("latin-1").partition(":") for line in lines[1:] if line)
        return Answer(int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in pairs})

    async def piece(self, answer: Answer) -> bytes:
        """The next chunk of a chunked answer; empty at its end."""
        async with asyncio.timeout(WAIT):
            size = int(await self.reader.readline(), 16)
            data = (await self.reader.readexactly(size + 2))[:-2]
        if data:
            answer.pieces.append(data)
        else:
            answer.complete = True
        return data

    async def rest(self, answer: Answer) -> Answer:
        """Read the body to its end. Where it is cut short, ``complete`` stays false."""
        try:
            if "content-length" in answer.headers:
                async with asyncio.timeout(WAIT):
                    answer.pieces.append(await self.reader.readexactly(int(answer.headers["content-length"])))
                answer.complete = True
            elif "chunked" in answer.headers.get("transfer-encoding", ""):
                while await self.piece(answer):
                    pass
            else:
                async with asyncio.timeout(WAIT):
                    answer.pieces.append(await self.reader.read())
                answer.complete = True
        except (asyncio.IncompleteReadError, ValueError):
            pass
        return answer

    async def answer(self) -> Answer:
        """The next answer, whole."""
        return await self.rest(await self.head())

    async def at_end(self) -> bool:
        """Whether the gateway closes the connection without another byte."""
        try:
            async with asyncio.timeout(WAIT):
                return not await self.reader.read(1)
        except ConnectionError:
            return True

    def leave(self, *, reset: bool = False) -> None:
        """Close from this side."""
        if reset:
            self.writer.transport.abort()
        else:
            self.writer.close()


@asynccontextmanager
async def wire(address: tuple[str, int], *, receive_buffer: int | None = None) -> AsyncIterator[Wire]:
    """A connection for the duration of the block. ``receive_buffer`` bytes bounds what the kernel takes in."""
    sock = socket.socket()
    sock.setblocking(False)
    limit = 65_536
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        limit = receive_buffer
    await asyncio.get_running_loop().sock_connect(sock, address)
    reader, writer = await asyncio.open_connection(sock=sock, limit=limit)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def post(
    path: str,
    body: bytes | dict[str, Any] = b"",
    *extra: bytes,
    key: str = "gw_test_unit",
    content_type: str = "application/json",
    version: str = "1.1",
) -> bytes:
    """A request with a Content-Length; ``extra`` are header lines without their end."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return (
        head(path, *extra, b"content-length: %d" % len(data), key=key, content_type=content_type, version=version)
        + data
    )


def head(
    path: str, *extra: bytes, key: str = "gw_test_unit", content_type: str = "application/json", version: str = "1.1"
) -> bytes:
    """The head of a request whose framing is in ``extra``."""
    lines = [
        f"POST {path} HTTP/{version}".encode(),
        b"host: gateway.test",
        f"authorization: Bearer {key}".encode(),
        f"content-type: {content_type}".encode(),
        *extra,
    ]
    return b"\r\n".join([*lines, b"", b""])


def chat(text: str = "hi", **fields: Any) -> dict[str, Any]:
    """The body of a chat request for the model ``m``."""
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
