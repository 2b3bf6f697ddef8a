"""A worker with the data plane's interface that does as it is told, so that the supervisor can be tested alone.

``/crash`` ends it, ``/stubborn`` makes it ignore SIGTERM and SIGUSR2, ``/slow`` answers once one of them has come; any
other path tells what it was given.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

import orjson
from msgspec import Struct

from gateway.settings.load import load
from gateway.settings.model import Settings


class WorkerOptions(Struct, frozen=True):
    settings: Settings
    config_path: str | None
    sockets: list[socket.socket]
    index: int
    ready_fd: int
    local_socket: str | None
    master_key: str
    run_id: str
    sidecar: str | None
    place: int
    after: int | None


def run(options: WorkerOptions) -> int:
    print("printed by worker")
    if os.environ.get("STANDIN_FAILS"):
        return 3
    if os.path.exists(os.environ.get("STANDIN_FAILS_IF", "")):
        return 3
    return asyncio.run(_Worker(options).serve())


class _Worker:
    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.settings = options.settings
        self.stop = asyncio.Event()
        self.stubborn = False
        self.open: set[asyncio.Task[None]] = set()

    async def serve(self) -> int:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.on_term)
        loop.add_signal_handler(signal.SIGUSR2, self.on_term)
        loop.add_signal_handler(signal.SIGHUP, self.on_hup)
        servers = [await asyncio.start_server(self.answer, sock=item) for item in self.options.sockets]
        os.write(self.options.ready_fd, b"1")
        os.close(self.options.ready_fd)
        await self.stop.wait()
        for server in servers:
            server.close()
        await asyncio.gather(*self.open)
        return 0

    def on_term(self) -> None:
        if not self.stubborn:
            self.stop.set()

    def on_hup(self) -> None:
        assert self.options.config_path is not None
        self.settings = load(self.options.config_path, os.environ)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        if path == b"/crash":
            os._exit(9)
        if path == b"/stubborn":
            self.stubborn = True
        if path == b"/slow":
            sys.stderr.write('{"message": "slow request"}\n')
            sys.stderr.flush()
            await self.stop.wait()
        body = orjson.dumps(
            {
                "pid": os.getpid(),
                "index": self.options.index,
                "place": self.options.place,
                "after": self.options.after,
                "models": [model.name for model in self.settings.models],
                "local_socket": self.options.local_socket,
                "master_key": self.options.master_key,
                "sidecar": self.options.sidecar,
            }
        )
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()
        self.open.discard(task)
