"""Runs the fake provider in a thread of the test process."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from tests.support.fake_openai.app import build_app
from tests.support.fake_openai.gates import Gates
from tests.support.fake_openai.protocol import recording_protocol
from tests.support.fake_openai.recording import Recording

KEY = "sk-fake-provider-key"
"""The one key the provider accepts."""


class FakeOpenAI:
    """A provider at ``base_url`` from :meth:`start` to :meth:`stop`; also a context manager."""

    def __init__(self) -> None:
        self.recording = Recording()
        self.gates = Gates()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        # asyncio turns Nagle's algorithm off only where the protocol number is given.
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._listener.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, name="fake-openai", daemon=True)
        self._up = threading.Event()

    @property
    def base_url(self) -> str:
        """The base URL an OpenAI client takes, ``/v1`` included."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def start(self) -> FakeOpenAI:
        """Start serving. Raises ``RuntimeError`` if the server isn't up in 30 seconds."""
        self._thread.start()
        if not self._up.wait(30):
            raise RuntimeError("the fake provider did not start")
        return self

    def stop(self) -> None:
        """Drop every connection and end the thread."""
        self.gates.open_all()  # while there is a loop that hears of it
        if self._server is not None:
            self._server.force_exit = self._server.should_exit = True
        self._thread.join(30)
        self._listener.close()
        if self._thread.is_alive():
            raise RuntimeError("the fake provider did not stop")

    def drop_idle(self) -> None:
        """Close every open connection from the provider's side, as its idle timeout does; returns when all are."""
        loop = self._loop
        assert loop is not None
        dropped = [each for each in self.recording.connections if each.transport is not None]
        for connection in dropped:
            if connection.transport is not None:
                loop.call_soon_threadsafe(connection.transport.close)
        self.recording.wait_all_closed(dropped)

    def build(self) -> ASGIApp:
        """The application."""
        return build_app(self.recording, self.gates, KEY)

    def __enter__(self) -> FakeOpenAI:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.gates.bind(self._loop)
        config = uvicorn.Config(
            self.build(),
            http=recording_protocol(self.recording),
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=300,
            server_header=False,
        )
        self._server = _Server(config, self._up)
        await self._server.serve(sockets=[self._listener])


class _Server(uvicorn.Server):
    """A server that tells when it accepts connections."""

    def __init__(self, config: uvicorn.Config, up: threading.Event) -> None:
        super().__init__(config)
        self._up = up

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._up.set()
