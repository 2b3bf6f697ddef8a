"""Faults of a configuration file: where each is, what was expected, and what was probably meant.

A fault never carries a secret: only through :func:`shown` and :func:`named` does a text of the file get into a message.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

Path: TypeAlias = tuple[str | int, ...]
# Where in the file, what is wrong, and a hint.
Finding: TypeAlias = tuple[Path, str, str | None]
Severity: TypeAlias = Literal["error", "warning"]

# A name worth repeating is short and word-like; what looks like a credential is never repeated.
_WORD = re.compile(r"[A-Za-z0-9_<][A-Za-z0-9_.:/@+< -]{0,63}\Z")
_CREDENTIAL = re.compile(r"(?i)(^|[^a-z])(sk|pk|gw|app|key|token|bearer)[-_][a-z0-9]|[A-Za-z0-9_-]{24,}|://[^/]*@")
# Names of models are long and may hold any word, so of them only what begins like an API key is hidden.
_NAME = re.compile(r"[A-Za-z0-9_<][A-Za-z0-9_.:/@+< -]{0,199}\Z")
_API_KEY = re.compile(r"(?i)(^|[^a-z])(sk|pk|gw|bearer)[-_][a-z0-9]|://[^/]*@")


class Fault(Struct, frozen=True, kw_only=True):
    """One fault. ``line`` and ``column`` count from 1; ``path`` is dotted, such as ``providers[0].base_url``."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str | None = None
    severity: Severity = "error"

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {where}{self.message}{hint}"


class ConfigError(Exception):
    """The configuration cannot be used. ``faults`` holds every error and warning that was found, in file order."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.file, fault.line, fault.column)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


def dotted(path: Path) -> str:
    """``("providers", 0, "name")`` as ``providers[0].name``."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            name = shown(part)
            out += f".{name}" if out else name
    return out


def shown(text: str) -> str:
    """A name of the file for a message, or ``…`` where it could be a secret or is too long to read."""
    return text if _WORD.match(text) and not _CREDENTIAL.search(text) else "…"


def named(text: str) -> str:
    """A model's, provider's, plan's or key's name for a message. Known secrets are taken out of it afterwards."""
    return text if _NAME.match(text) and not _API_KEY.search(text) else "…"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """``did you mean "x"?`` for the nearest known name, or None."""
    found: Sequence[str] = difflib.get_close_matches(name[:200], [item for item in known if item != name], 1, 0.6)
    return f'did you mean "{found[0]}"?' if found else None
