"""Data files that ship with the program: ``config/plans.yaml``, ``config/roles.yaml``, ``config/providers/``."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def shipped(name: str) -> Path:
    """Where the shipped file is: inside the installed package, or in ``config/`` of a checkout."""
    installed = _PACKAGE / "config" / name
    return installed if installed.exists() else _PACKAGE.parent / "config" / name
