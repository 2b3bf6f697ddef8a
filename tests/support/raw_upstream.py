"""An upstream that does exactly what a test scripts: raw HTTP/1.1 over TCP, TLS or a Unix socket, in its loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

WAIT = 30.0
"""Seconds a test waits for something that must happen before it fails."""


class Received:
    """One request as it came: ``line`` is the request line, header names are in lower case."""

    def __init__(self, head: bytes) -> None:
        lines = head.split(b"\r\n")
        self.line = lines[0]
        self.headers = {
            name.decode().lower(): value.strip().decode("latin-1")
            for name, _, value in (line.partition(b":") for line in lines[1:] if line)
        }
        self.body = b""

    @property
    def target(self) -> str:
        """The request target, as it stood in the request line."""
        return self.line.split(b" ")[1].decode()


class Peer:
    """One accepted connection. ``number`` counts from 0 over all connections of the upstream."""

    def __init__(self, upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.upstream = upstream
        self.number = len(upstream.peers)
        self.reader = reader
        self.writer = writer
        self.served = 0
        self.left = asyncio.Event()

    async def head(self) -> Received:
        """The next request's head."""
        request = Received(await self.reader.readuntil(b"\r\n\r\n"))
        self.upstream.requests.append(request)
        self.upstream.arrived.set()
        return request

    async def request(self) -> Received:
        """The next request, its body read by length or by chunks."""
        request = await self.head()
        async for piece in self.body(request):
            request.body += piece
        self.served += 1
        return request

    async def body(self, request: Received) -> AsyncIterator[bytes]:
        """The pieces of a request body as they arrive, chunk framing removed."""
        if "chunked" in request.headers.get("transfer-encoding", ""):
            while size := int(await self.reader.readline(), 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
            return
        left = int(request.headers.get("content-length", 0))
        while left:
            piece = await self.reader.read(min(left, 65_536))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            yield piece

    async def send(self, *pieces: bytes) -> None:
        """Write, and wait until the buffer has room. Raises :class:`ConnectionError` where the connection is gone."""
        if self.writer.is_closing():
            raise ConnectionResetError  # which uvloop tells by a plain RuntimeError
        self.writer.write(b"".join(pieces))  # asyncio's writelines, since 3.12, fails on a connection that is gone
        await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the gateway has closed this connection; what it sends meanwhile is read and dropped."""
        try:
            async with asyncio.timeout(WAIT):
                while await self.reader.read(65_536):
                    pass
        except ConnectionError:
            pass
        self.left.set()

    def close(self, *, reset: bool = False) -> None:
        """End the connection from this side."""
        if reset:
            self.writer.transport.abort()
        else:
            self.writer.close()


Script = Callable[[Peer], Awaitable[None]]


class RawUpstream:
    """A listening upstream. ``script`` runs once for each connection; replace it at any time."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.peers: list[Peer] = []
        self.requests: list[Received] = []
        self.arrived = asyncio.Event()
        self.failures: list[BaseException] = []
        self.address = ("127.0.0.1", 0)
        self.base_url = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def port(self) -> int:
        """The TCP port."""
        return self.address[1]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; it is looked at whenever a request or connection comes."""
        async with asyncio.timeout(WAIT):
            while not condition():
                self.arrived.clear()
                await self.arrived.wait()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        peer = Peer(self, reader, writer)
        self.peers.append(peer)
        self.arrived.set()
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side left, which tests look at by other means
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        except Exception as error:
            self.failures.append(error)
        finally:
            self._tasks.discard(task)
            peer.left.set()
            writer.close()

    async def stop(self) -> None:
        """Drop every connection."""
        self._stopping = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def raw_upstream(
    script: Script, *, tls: ssl.SSLContext | None = None, path: Path | None = None, port: int = 0
) -> AsyncIterator[RawUpstream]:
    """An upstream on loopback for the duration of the block. An error in ``script`` fails the test at its end."""
    upstream = RawUpstream(script)
    if path is not None:
        server = await asyncio.start_unix_server(upstream.accept, str(path))
        upstream.base_url = f"unix:{path}"
    else:
        server = await asyncio.start_server(upstream.accept, "127.0.0.1", port, ssl=tls, backlog=4096)
        upstream.address = server.sockets[0].getsockname()[:2]
        upstream.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{upstream.port}/v1"
    try:
        yield upstream
    finally:
        server.close()
        await upstream.stop()
    if upstream.failures:
        raise ExceptionGroup("the upstream's script failed", [f for f in upstream.failures if isinstance(f, Exception)])


# what upstreams say


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole JSON answer with a Content-Length."""
    lines = [b"HTTP/1.1 " + status, b"content-type: application/json", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


def completion(text: str = "hello", *, prompt: int = 5, completion: int = 2) -> bytes:
    """The body of a chat completion."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return orjson.dumps({"id": "c1", "object": "chat.completion", "model": "up", "choices": [choice], "usage": usage})


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    """One piece in chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def delta(text: str, finish: str | None = None) -> bytes:
    """One event of a streamed chat completion."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + orjson.dumps({"id": "c1", "object": "chat.completion.chunk", "choices": [choice]}) + b"\n\n"


def usage_event(prompt: int = 5, completion: int = 2) -> bytes:
    """The event with the usage that ends a stream which was asked for it."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return b"data: " + orjson.dumps({"id": "c1", "choices": [], "usage": usage}) + b"\n\n"


async def serve_completions(peer: Peer) -> None:
    """The plain script: answers every request on the connection with the same completion."""
    while True:
        await peer.request()
        await peer.send(answer(completion()))
