"""Listens in on a gateway and its engine of local models: a Unix socket in the engine's place that hands everything on.

What the engine is asked is recorded as the fake providers do it, so the same can be asserted of both.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httptools
import httpx

from tests.support.fake_openai.recording import Connection, Recorded, Recording

START_SECONDS = 60.0
_BEGUN = re.compile(rb'"content":"[^"]')
"""The first text of an answer."""


class Overheard:
    """Between :meth:`start` and :meth:`stop`. A stream whose request holds :data:`CUT` breaks off after its first text,
    as when the engine dies. ``http`` is a client of the engine itself.
    """

    CUT = "break off"

    def __init__(self, run: Path) -> None:
        self.recording = Recording()
        self._path = _listening(run)
        self.engine = self._path.with_name("engine.sock")
        self._path.rename(self.engine)
        self.http = httpx.Client(transport=httpx.HTTPTransport(uds=str(self.engine)), base_url="http://local")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="overheard", daemon=True)

    def start(self) -> None:
        """Listen. Raises ``RuntimeError`` if it isn't up in time."""
        self._thread.start()
        if not self._up.wait(START_SECONDS):
            raise RuntimeError("nothing listens in the engine's place")

    def stop(self) -> None:
        """Close every connection and end the thread."""
        self.http.close()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(START_SECONDS)
        if self._thread.is_alive():
            raise RuntimeError("the thread did not end")

    def wait_idle(self) -> None:
        """Wait until the engine computes nothing. Raises ``TimeoutError``."""
        deadline = time.monotonic() + START_SECONDS
        while (queue := self.http.get("/health").json()["queue"])["running"] or queue["waiting"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the engine computes on: {queue}")
            time.sleep(0.02)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_unix_server(self._serve, str(self._path))
        self._up.set()
        await self._ended.wait()
        server.close()
        while serving := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in serving:
                task.cancel()
            await asyncio.wait(serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(("engine", len(self.recording.connections)), time.monotonic())
        self.recording.update(lambda: self.recording.connections.append(connection))

        def close() -> None:
            connection.closed_at = time.monotonic()

        there, back = await asyncio.open_unix_connection(str(self.engine))
        requests = _Requests(self.recording, connection)
        ways = {
            asyncio.create_task(_hand_on(reader, back, requests)),
            asyncio.create_task(_answer(there, writer, requests)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for side in (writer, back):
                side.close()
            self.recording.update(close)


class _Requests:
    """Reads what comes over one connection. ``cuts`` says whether the answer under way is to break off."""

    def __init__(self, recording: Recording, connection: Connection) -> None:
        self._recording = recording
        self._connection = connection
        self._parser = httptools.HttpRequestParser(self)
        self.cuts = False
        self._begin()

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """A part of the path."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """The whole request is here."""
        method = self._parser.get_method().decode()
        path, _, query = self._path.decode("latin-1").partition("?")
        headers, body = self._headers, self._body
        made = Recorded(method, path, query, headers, self._connection, time.monotonic(), body, complete=True)
        self._recording.update(lambda: self._recording.requests.append(made))
        self.cuts = Overheard.CUT.encode() in body
        self._begin()

    def _begin(self) -> None:
        self._path, self._body = b"", b""
        self._headers: list[tuple[str, str]] = []


async def _hand_on(reader: asyncio.StreamReader, to: asyncio.StreamWriter, requests: _Requests) -> None:
    while data := await reader.read(65_536):
        requests.feed(data)
        to.write(data)
        await to.drain()


async def _answer(reader: asyncio.StreamReader, to: asyncio.StreamWriter, requests: _Requests) -> None:
    while data := await reader.read(65_536):
        to.write(data)
        await to.drain()
        if requests.cuts and _BEGUN.search(data):
            return


def _listening(run: Path) -> Path:
    """The engine's socket, once somebody listens there. Raises ``TimeoutError``."""
    deadline = time.monotonic() + START_SECONDS
    while not (found := list(run.glob("local-*.sock"))):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no engine in {run}")
        time.sleep(0.02)
    return found[0]


@contextmanager
def overheard(run: Path) -> Iterator[Overheard]:
    """Listens in on the engine of the gateway whose sockets are in ``run``."""
    made = Overheard(run)
    made.start()
    try:
        yield made
    finally:
        made.stop()
