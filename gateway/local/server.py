"""The engine's process: one event loop on a Unix socket, one inference thread, and the signals that steer them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import uvicorn

from gateway.local.app import Application
from gateway.local.engine import Engine
from gateway.local.specs import EngineSettings

_LOG = logging.getLogger("gateway.local")
_NICENESS = 10  # proxied traffic on the same machine goes first


async def serve(socket_path: Path, load: Callable[[], EngineSettings]) -> None:
    """Serve until SIGTERM or SIGINT. ``load`` reads the settings, now and at every SIGHUP.

    Raises ``OSError`` where the socket cannot be made, and whatever the first ``load`` raises.
    """
    settings = load()
    engine = Engine(settings)
    listening = bind(socket_path)
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    engine.start()
    config = uvicorn.Config(
        Application(engine),
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.drain)),
    )
    config.load()
    server = uvicorn.Server(config)
    for stopping in (signal.SIGTERM, signal.SIGINT):
        # uvicorn acts on them and raises them once more when it is done; by then nothing is left to do.
        signal.signal(stopping, lambda *_: None)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload, engine, load)
    try:
        await server.serve(sockets=[listening])
    finally:
        await asyncio.to_thread(engine.close, 1.0)
        listening.close()


def reload(engine: Engine, load: Callable[[], EngineSettings]) -> None:
    """Take over the settings as they are now; keep the present ones if they cannot be read."""
    try:
        engine.configure(load())
    except Exception as error:
        # Whatever is wrong with the file, what is running goes on.
        _LOG.error("The settings were not reloaded: %s", error)
        return
    _LOG.info("Settings reloaded: %s", ", ".join(engine.settings.models) or "no local models")


def bind(path: Path) -> socket.socket:
    """A Unix socket only this user can reach. A stale one is replaced; one that answers is an ``OSError``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o077)
    try:
        listening.bind(str(path))
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    listening.listen(128)
    listening.setblocking(False)
    return listening


def _remove_stale(path: Path) -> None:
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise FileExistsError(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise FileExistsError(f"Another engine is already listening on {path}")
