"""The matrix of ``docs/protocols.md``, written from what the tests found: ``make matrix``.

A pytest plugin (``-p tests.scenarios.protocols.matrix.table --matrix FILE``). A cell whose test did not pass is none.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.scenarios.protocols.matrix.limits import CLIENTS, LIMITS, limits_of

MARKS: Final = re.compile(r"(<!-- matrix -->\n).*(<!-- end of the matrix -->\n)", re.S)
KINDS: Final = {
    "openai": "`openai`",
    "openai-responses": "`openai`, `responses: true`",
    **{name: f"`{name}`" for name in ("azure", "anthropic", "gemini", "vertex", "bedrock", "cohere", "mistral")},
    "llama_cpp": "`llama_cpp`",
}
"""Every kind, and what its row is called."""
FEATURES: Final = (
    *("plain", "stream", "tools", "parallel tools", "vision", "structured output", "reasoning", "abort", "error"),
)
_NAMES: Final = {"chat": "Chat Completions", "responses": "Responses", "messages": "Messages"}


class Found(NamedTuple):
    """A cell whose test passed."""

    client: str
    kind: str
    feature: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that asks for a matrix."""
    parser.addoption("--matrix", type=Path, help="write the matrix of protocols into this file")


def pytest_configure(config: pytest.Config) -> None:
    """Gather where it was asked for; workers of xdist report to the process that was started."""
    path: Path | None = config.getoption("--matrix")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Gatherer(path), "matrix")


class _Gatherer:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: set[Found] = set()
        self._failed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed += report.failed
        if report.when == "call" and report.passed:
            self._found |= {
                Found(*value)
                for name, value in report.user_properties
                if name == "cell" and isinstance(value, (tuple, list))
            }

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(self._write())

    def _write(self) -> str:
        if self._failed:
            return f"{self._path} stays as it is: {self._failed} tests failed"
        text = self._path.read_text("utf-8")
        if not MARKS.search(text):
            raise pytest.UsageError(f"{self._path} has no marks for a matrix")
        card = f"\n{table(self._found)}\n"
        self._path.write_text(MARKS.sub(lambda found: found[1] + card + found[2], text), "utf-8")
        return f"wrote {self._path}"


def table(found: Collection[Found]) -> str:
    """One table a client, one row a kind; then the limits, by their numbers."""
    numbers = {key: place for place, key in enumerate(LIMITS, 1)}
    lines: list[str] = []
    for client in CLIENTS:
        lines += [f"| a client of {_NAMES[client]}, a model of | {' | '.join(FEATURES)} |"]
        lines += ["|---|" + ":-:|" * len(FEATURES)]
        for kind, row in KINDS.items():
            cells = [_cell(Found(client, kind, feature), found, numbers) for feature in FEATURES]
            lines.append(f"| {row} | {' | '.join(cells)} |")
        lines.append("")
    lines += [f"{numbers[key]}. {limit.about}" for key, limit in LIMITS.items()]
    return "\n".join(lines) + "\n"


def _cell(cell: Found, found: Collection[Found], numbers: dict[str, int]) -> str:
    if cell not in found:
        return ""
    keys = limits_of(*cell)
    told = "no" if any(LIMITS[key].lacks for key in keys) else "yes"
    notes = " ".join(str(numbers[key]) for key in keys)
    return f"{told} <sup>{notes}</sup>" if notes else told
