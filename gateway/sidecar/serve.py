"""The sidecar's event loop: opens what it needs, serves until it is told to stop, reads the configuration again."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from typing import cast

import uvicorn
import uvloop
from fastapi import FastAPI

from gateway.kernel.errors import GatewayError
from gateway.kernel.memory import collect_seldom, give_back
from gateway.settings.faults import ConfigError
from gateway.settings.model import Settings
from gateway.sidecar.app import create_app
from gateway.sidecar.migrating import migrate_apart
from gateway.sidecar.parts import NotNow, Sidecar, opened
from gateway.sidecar.run import CONFIG_FAULT, LATER, STOPPED, Options, tell_ready
from gateway.sidecar.websocket import LARGEST_MESSAGE, websocket

DRAIN = 4.0  # seconds: the supervisor waits ten before it kills
KEEP_ALIVE = 75  # seconds

_log = logging.getLogger("gateway.sidecar")


def serve(options: Options, settings: Settings, master_key: str, listening: list[socket.socket]) -> int:
    """Serve on ``listening`` until a signal; gives the exit code, see :mod:`gateway.sidecar.run`."""
    migrate_apart(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Process(options, settings, master_key, listening).run())


class _Process:
    def __init__(self, options: Options, settings: Settings, master_key: str, listening: list[socket.socket]) -> None:
        self.options = options
        self.settings = settings
        self.master_key = master_key
        self.listening = listening
        self._reload_wanted = asyncio.Event()

    async def run(self) -> int:
        try:
            async with opened(self.settings, self.master_key) as sidecar:
                await self._serve(sidecar)
        except NotNow as error:
            _log.error("the sidecar cannot run now: %s", error)
            return LATER
        except GatewayError as error:
            _log.error("the sidecar cannot run: %s", error.message)
            return CONFIG_FAULT
        return STOPPED

    async def _serve(self, sidecar: Sidecar) -> None:
        config = server_config(create_app(sidecar), self.settings)
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        loop = asyncio.get_running_loop()

        def stop() -> None:
            # The subscribers' streams never end by themselves.
            sidecar.feed.close()
            sidecar.live.close()
            # Asked a second time, it waits for nobody.
            server.force_exit = server.should_exit
            server.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        reloading = asyncio.create_task(self._reload(sidecar))
        gc.collect()
        give_back()
        gc.freeze()
        collect_seldom()
        gc.enable()  # it was off while everything was loaded
        await server.startup(sockets=self.listening)
        tell_ready(self.options, self.settings, self.listening)
        _log.info("the sidecar answers", extra={"seq": sidecar.feed.seq})
        await server.main_loop()
        await server.shutdown(sockets=self.listening)
        reloading.cancel()

    async def _reload(self, sidecar: Sidecar) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            try:
                await sidecar.configure(self.options.settings())
            except ConfigError as error:
                _log.error("the configuration was not taken up", extra={"faults": [str(item) for item in error.faults]})
            except Exception:
                # Whatever is wrong with it, what is running goes on.
                _log.exception("the configuration was not taken up")
            else:
                _log.info("the configuration was taken up")


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How the sidecar's application is served."""
    return uvicorn.Config(
        app,
        loop="none",
        http="httptools",
        ws=cast("type[asyncio.Protocol]", websocket),  # called as one is
        ws_max_size=LARGEST_MESSAGE,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(min(settings.server.drain, DRAIN))),
    )
