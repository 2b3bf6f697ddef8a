"""Placeholders in the texts of the configuration.

=====================  ==========================================================
``${NAME}``            the environment variable; a fault where it is not set
``${NAME:-default}``   the default where the variable is not set or empty
``${file:PATH}``       the file's text without surrounding white space
``$${``                a literal ``${``
=====================  ==========================================================

What a placeholder gives is taken as it is: it is never expanded again and never shown.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

MAX_FILE = 64 * 1024

_PLACEHOLDER = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\Z", re.S)


class ExpandError(Exception):
    """A placeholder cannot be expanded. The message never holds a value, ``hint`` says what to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Expander:
    """Expands texts against one environment. ``files`` and ``values`` collect what was read."""

    def __init__(self, env: Mapping[str, str], base: Path) -> None:
        self.env = env
        self.base = base
        self.files: list[Path] = []
        self.values: list[str] = []

    def expand(self, text: str) -> str:
        """The text with its placeholders replaced. Raises :class:`ExpandError`."""
        return _PLACEHOLDER.sub(self._one, text)

    def _one(self, match: re.Match[str]) -> str:
        if match.group() == "$${":
            return "${"
        value = self._value(match.group(1))
        self.values.append(value)
        return value

    def _value(self, inner: str | None) -> str:
        if inner is None:
            raise ExpandError("a placeholder has no closing brace", "write $${ for a literal ${")
        if inner.startswith("file:"):
            return self._file(inner[5:])
        parts = _NAME.match(inner)
        if parts is None:
            raise ExpandError("expected ${NAME}, ${NAME:-default} or ${file:PATH}", "write $${ for a literal ${")
        name, default = parts.groups()
        value = self.env.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise ExpandError(
                f"the environment variable {name} is not set", f"set it, or give a default: ${{{name}:-…}}"
            )
        return value

    def _file(self, name: str) -> str:
        if not name or "\0" in name:
            raise ExpandError("expected a file's path after ${file:")
        path = self.base / name
        self.files.append(path)
        try:
            # Not opened before it is known to be a file: opening a pipe would wait for a writer.
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise ExpandError(f"{path} is not a regular file")
            with path.open("rb") as handle:
                data = handle.read(MAX_FILE + 1)
        except OSError as error:
            raise ExpandError(f"cannot read {path}: {error.strerror or 'it is not a usable path'}") from None
        if len(data) > MAX_FILE:
            raise ExpandError(f"{path} is larger than {MAX_FILE // 1024} KiB")
        try:
            return data.decode().strip()
        except UnicodeDecodeError:
            raise ExpandError(f"{path} is not UTF-8 text") from None


def sole_placeholder(text: str) -> bool:
    """Whether the text is one placeholder and nothing else."""
    match = _PLACEHOLDER.fullmatch(text)
    return match is not None and match.group(1) is not None


def sole_variable(text: str) -> str | None:
    """The variable of a text that is one ``${NAME}`` and nothing else, otherwise None."""
    match = _PLACEHOLDER.fullmatch(text)
    parts = _NAME.match(match.group(1)) if match is not None and match.group(1) is not None else None
    return parts.group(1) if parts is not None else None
