"""The mock upstream: an OpenAI-like server that costs as little as a Python process can.

``python -m benchmarks.upstream [--port N]`` prints ``{"event": "ready", "url": ..., "pid": ...}`` and serves until
SIGTERM. The model asked for decides what it does: ``slow-60-1000`` streams 60 stamped events 1,000 ms apart; any other
name answers at once, with 35 events of which each is a write of its own one loop turn after the other when
``"stream": true``. ``GET /stats`` tells how many requests were answered and how many streams ran to their end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import signal
from typing import cast

import uvloop
from httptools import HttpParserError, HttpRequestParser

from benchmarks import answers

SLOW = re.compile(rb'"model"\s*:\s*"slow-(\d+)-(\d+)"')
STREAM = re.compile(rb'"stream"\s*:\s*true')
USAGE = re.compile(rb'"include_usage"\s*:\s*true')
BACKLOG = 8192


def whole(body: bytes, status: bytes = b"200 OK") -> bytes:
    """A complete HTTP/1.1 answer."""
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def framed(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


CHAT = whole(answers.completion())
EMBEDDING = whole(answers.embedding())
NOT_FOUND = whole(b'{"error":{"message":"The mock upstream does not serve this path."}}', b"404 Not Found")
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
EVENTS = tuple(framed(event) for event in answers.events(answers.EVENTS))
USAGE_EVENT = framed(answers.usage_event())
END = framed(answers.DONE) + b"0\r\n\r\n"


class Stats:
    """What the upstream has seen since its start."""

    __slots__ = ("completed", "open", "requests", "streams")

    def __init__(self) -> None:
        self.requests = 0
        self.streams = 0
        self.completed = 0
        self.open = 0

    def encode(self) -> bytes:
        """The counters as JSON."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()


class Upstream(asyncio.Protocol):
    """One connection. Requests on it are answered one after the other."""

    __slots__ = ("_body", "_loop", "_parser", "_stats", "_stream", "_transport", "_url")

    def __init__(self, loop: asyncio.AbstractEventLoop, stats: Stats) -> None:
        self._loop = loop
        self._stats = stats
        self._parser = HttpRequestParser(self)
        self._url = b""
        self._body = b""
        self._stream: tuple[bytes, ...] = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        """A request line was read."""
        self._url = url
        self._body = b""

    def on_body(self, body: bytes) -> None:
        """A part of the body was read. Nearly every body comes in one."""
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        """A whole request was read."""
        if self._url.endswith(b"/chat/completions"):
            self._chat(self._body)
        elif self._url.endswith(b"/embeddings"):
            self._stats.requests += 1
            self._transport.write(EMBEDDING)
        elif self._url == b"/stats":
            self._transport.write(whole(self._stats.encode()))
        else:
            self._transport.write(NOT_FOUND)

    def _chat(self, body: bytes) -> None:
        self._stats.requests += 1
        if STREAM.search(body) is None:
            self._transport.write(CHAT)
            return
        self._stats.streams += 1
        self._stats.open += 1
        self._transport.write(STREAM_HEAD)
        tail = (USAGE_EVENT, END) if USAGE.search(body) else (END,)
        slow = SLOW.search(body)
        if slow is None:
            self._stream = EVENTS + tail
            self._loop.call_soon(self._next, 0)
        else:
            self._stream = tail
            self._tick(int(slow[1]), int(slow[2]) / 1000, self._loop.time())

    def _next(self, index: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(self._stream[index])
        if index + 1 < len(self._stream):
            self._loop.call_soon(self._next, index + 1)
        else:
            self._stats.completed += 1
            self._stats.open -= 1
            self._stream = ()

    def _tick(self, left: int, interval: float, due: float) -> None:
        """Send a stamped event and plan the next one against the clock, so that lateness here does not add up."""
        if self._transport.is_closing():
            return
        if not left:
            self._next(0)
            return
        self._transport.write(framed(answers.stamped_event()))
        due += interval
        self._loop.call_at(due, self._tick, left - 1, interval, due)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stream:
            self._stats.open -= 1
            self._stream = ()


async def serve(port: int, kind: type[Upstream] = Upstream) -> None:
    """Serve on loopback until SIGTERM or SIGINT. ``kind`` answers."""
    loop = asyncio.get_running_loop()
    stats = Stats()
    server = await loop.create_server(lambda: kind(loop, stats), "127.0.0.1", port, backlog=BACKLOG)
    bound = server.sockets[0].getsockname()[1]
    print(json.dumps({"event": "ready", "url": f"http://127.0.0.1:{bound}", "pid": os.getpid()}), flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gc.freeze()
    await stop.wait()
    server.close()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description="The benchmark's mock upstream.")
    parser.add_argument("--port", type=int, default=0)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
