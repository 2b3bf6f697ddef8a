"""Processes of this machine, by their ids."""

from __future__ import annotations

import os


def is_alive(pid: int) -> bool:
    """Whether a process has this id, whoever's it is."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
