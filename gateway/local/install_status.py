"""What the installer of the engine is doing, read from the small file it keeps beside the environment.

The file is ``<sys.prefix>/local-install.json``::

    state     building | installing | ready | failed
    message   a sentence for a person
    done, total   compiled files so far and in all, or null while not known
    started, updated   Unix seconds
    pid       the installer's process
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Literal

import msgspec

from gateway.kernel.processes import is_alive

State = Literal["building", "installing", "ready", "failed"]
HOW_TO_INSTALL = (
    "Install it with `make run`, or `.venv/bin/python scripts/install_local.py` (a C and C++ compiler is needed)."
)


class InstallStatus(msgspec.Struct, frozen=True):
    """The installer's last word. See the module docstring for the fields."""

    state: State
    message: str
    done: int | None = None
    total: int | None = None
    started: float = 0.0
    updated: float = 0.0
    pid: int | None = None

    @property
    def running(self) -> bool:
        """Whether an installer that is still alive is at work."""
        return self.state in ("building", "installing") and is_alive(self.pid or 0)


def default_path() -> Path:
    """Where the installer of this environment writes."""
    return Path(sys.prefix) / "local-install.json"


def read(path: Path | None = None) -> InstallStatus | None:
    """The status, or None where no installer has ever run or the file is unreadable."""
    try:
        return msgspec.json.decode((path or default_path()).read_bytes(), type=InstallStatus)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def explain(status: InstallStatus | None) -> tuple[str, float]:
    """A sentence on why there is no engine yet, and the seconds after which asking again makes sense."""
    if status is not None and status.running:
        progress = f" ({status.done} of {status.total} files compiled)" if status.done and status.total else ""
        elapsed = f", {int(time.time() - status.started)} s so far" if status.started else ""
        return f"The local model engine is being installed: {status.message}{progress}{elapsed}.", 10.0
    if status is not None and status.state == "failed":
        return f"Installing the local model engine failed: {status.message}", 60.0
    return f"The local model engine (llama-cpp-python) is not installed. {HOW_TO_INSTALL}", 60.0
