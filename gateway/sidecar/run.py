"""The sidecar's process: its sockets, its server, its signals.

=========  ====================================================================================
exit code  meaning
=========  ====================================================================================
0          stopped as asked
69         an address is taken: another sidecar may listen there (EX_UNAVAILABLE of sysexits.h)
75         the database can't be used now (EX_TEMPFAIL)
78         the configuration can't be served; starting again would fail again (EX_CONFIG)
=========  ====================================================================================

SIGTERM and SIGINT end it once requests under way are answered, SIGHUP has it read the configuration again. The sockets
listen before the heavy libraries are loaded, so that who connects meanwhile waits instead of being turned away.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import ModuleType

from msgspec import Struct

from gateway.kernel.memory import be_sparing
from gateway.settings.faults import ConfigError
from gateway.settings.load import load
from gateway.settings.master_key import MasterKeyError, ensure
from gateway.settings.model import Settings
from gateway.sidecar.sockets import SocketError, UnixListener, listen_tcp

STOPPED = 0
TAKEN = 69
LATER = 75
CONFIG_FAULT = 78
_UNUSED = "pydantic.v1"  # FastAPI loads it, 1.4 MB, to refuse models of it

_log = logging.getLogger("gateway.sidecar")


class Options(Struct, frozen=True, kw_only=True):
    """What a sidecar is started with. ``config_path`` None is the embedded defaults.

    ``ready_fd`` gets one byte, and ``on_ready`` is called with the settings and the sockets, once it answers.
    """

    config_path: Path | None
    socket_path: str
    env: Mapping[str, str]
    ready_fd: int | None = None
    on_ready: Callable[[Settings, list[socket.socket]], None] | None = None

    def settings(self) -> Settings:
        """The configuration as it is now. Raises :class:`ConfigError`."""
        return load(self.config_path, self.env)


def run(options: Options) -> int:
    """Serve until a signal; gives the exit code."""
    be_sparing()
    with ExitStack() as stack:
        try:
            settings = options.settings()
            master_key = settings.master_key or ensure(settings.data_dir)[0]
            unix = stack.enter_context(closing(UnixListener(options.socket_path)))
            tcp = listen_tcp(settings.sidecar.listen) if settings.sidecar.listen is not None else []
            for item in tcp:
                stack.enter_context(item)
            for name in ("uvicorn", "alembic"):
                logging.getLogger(name).setLevel(logging.WARNING)
            # Nothing that is loaded goes again: looking for it is a tenth of the start.
            gc.disable()
            _leave_out(_UNUSED)
            # Loaded only now: the sockets listen already.
            from gateway.sidecar.serve import serve  # noqa: PLC0415

            return serve(options, settings, master_key, [unix.socket, *tcp])
        except (ConfigError, MasterKeyError) as error:
            _log.error("the sidecar cannot run: %s", error)
            return CONFIG_FAULT
        except SocketError as error:
            _log.error("the sidecar cannot listen: %s", error)
            return TAKEN


def _leave_out(name: str) -> None:
    """Have a module that is not loaded yet be one that can't be: who would load it for nothing does without."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]  # as the import system takes it
    modules.setdefault(name, None)


def tell_ready(options: Options, settings: Settings, listening: list[socket.socket]) -> None:
    """Tell whoever waits for it that the sidecar answers."""
    if options.ready_fd is not None:
        os.write(options.ready_fd, b"1")
        os.close(options.ready_fd)
    if options.on_ready is not None:
        options.on_ready(settings, listening)
