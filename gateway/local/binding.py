"""The llama.cpp binding, imported when it first becomes importable.

The engine starts before ``llama_cpp`` is installed and picks it up without a restart, so the import is at run time.
The module is ``Any`` here: type checks must hold whether it is installed or not.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any

from gateway.kernel.errors import GatewayError, Kind
from gateway.local import install_status

_LOG = logging.getLogger("gateway.local.llama_cpp")
_ERROR_LEVEL, _CONTINUE_LEVEL = 4, 5


class Binding:
    """Imports ``llama_cpp`` once it is there. ``lib`` is the flat C API, ``None`` until then."""

    def __init__(self, status_path: Path | None = None) -> None:
        self.lib: Any = None
        self._version = ""
        self.status_path = status_path
        self._log_callback: Any = None
        self._last_level = 0
        self._flags: list[AbortFlag] = []
        self._strlen = ctypes.CDLL(None).strlen

    def version(self) -> str:
        """The version of the binding; empty before it is imported."""
        return self._version

    def load(self) -> Any:
        """The C API. Raises ``GatewayError`` (``UNAVAILABLE/local_model_unavailable``) saying what is missing."""
        if self.lib is None:
            status = install_status.read(self.status_path)
            if status is not None and status.running:
                raise _unavailable(status)
            self._import(status)
        return self.lib

    def installed(self) -> bool:
        """Whether the engine is there to be imported."""
        if self.lib is not None:
            return True
        status = install_status.read(self.status_path)
        importlib.invalidate_caches()
        return not (status is not None and status.running) and importlib.util.find_spec("llama_cpp") is not None

    def abort_flag(self) -> AbortFlag:
        """A flag that llama.cpp polls while it computes."""
        flag = AbortFlag(self.load(), self._strlen)
        self._flags.append(flag)
        return flag

    def _import(self, status: install_status.InstallStatus | None) -> None:
        importlib.invalidate_caches()
        try:
            package = importlib.import_module("llama_cpp")
            lib = importlib.import_module("llama_cpp.llama_cpp")
        except (ImportError, OSError, RuntimeError) as error:
            for name in [name for name in sys.modules if name.split(".")[0] == "llama_cpp"]:
                del sys.modules[name]
            if not isinstance(error, ModuleNotFoundError):
                _LOG.warning("The llama.cpp library is installed but cannot be loaded: %s", error)
            raise _unavailable(status) from error
        self._log_callback = lib.llama_log_callback(self._on_log)
        lib.llama_log_set(self._log_callback, ctypes.c_void_p(0))
        lib.llama_backend_init()
        self._version = str(package.__version__)
        self.lib = lib

    def _on_log(self, level: int, text: bytes, _data: object) -> None:
        # A continuation has the level of the line it continues; only errors are worth a line of ours.
        level = self._last_level if level == _CONTINUE_LEVEL else level
        self._last_level = level
        stopping = any(flag.is_set() for flag in self._flags)  # llama.cpp calls being stopped an error
        if level == _ERROR_LEVEL and not stopping and (line := text.decode(errors="replace").strip()):
            _LOG.error("%s", line)


class AbortFlag:
    """Stops a computation in progress from another thread.

    llama.cpp calls the abort function between graph nodes with a pointer and stops when it answers true. A Python
    function there would take the interpreter lock hundreds of times per token, so libc's ``strlen`` is used: it is
    false for a buffer that starts with NUL, and true once the first byte is set.
    """

    def __init__(self, lib: Any, strlen: Any) -> None:
        self._buffer = ctypes.create_string_buffer(2)
        self.function = ctypes.cast(strlen, lib.ggml_abort_callback)
        self.data = ctypes.cast(self._buffer, ctypes.c_void_p)

    def set(self) -> None:
        """Ask for a stop."""
        self._buffer[0] = b"\x01"

    def is_set(self) -> bool:
        """Whether a stop was asked for and not yet cleared."""
        return self._buffer[0] != b"\x00"

    def clear(self) -> None:
        """Make ready for the next computation."""
        self._buffer[0] = b"\x00"


def _unavailable(status: install_status.InstallStatus | None) -> GatewayError:
    message, retry_after = install_status.explain(status)
    return GatewayError(Kind.UNAVAILABLE, "local_model_unavailable", message, "model", retry_after=retry_after)
