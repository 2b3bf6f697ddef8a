"""The scorecard of ``docs/resilience.md``, written from what the tests found: ``make scorecard``.

A pytest plugin (``-p tests.faults.scorecard --scorecard FILE``). Only what a passing test found is written, between the
marks that the file has for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.upstream.registry import every

PROTOCOLS = ("Messages", "Responses")
_RELAYED = "Streams that are relayed as they come, in the protocol that client and target speak:\n"
MARKS = re.compile(r"(<!-- scorecard -->\n).*(<!-- end of the scorecard -->\n)", re.S)


class Score(NamedTuple):
    """What one test found: the client ``got`` this, and the providers saw so many ``calls``."""

    fault: str
    stream: bool
    case: str
    got: str
    calls: int


class Figure(NamedTuple):
    """One measured number, ``unit`` included in ``value``."""

    name: str
    value: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that asks for a scorecard."""
    parser.addoption("--scorecard", type=Path, help="write the scorecard of the faults into this file")


def pytest_configure(config: pytest.Config) -> None:
    """Gather where it was asked for; workers of xdist report to the process that was started."""
    path: Path | None = config.getoption("--scorecard")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Gatherer(path), "scorecard")


class _Gatherer:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._scores: list[Score] = []
        self._figures: list[Figure] = []
        self._failed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed += report.failed
        if report.when != "call" or not report.passed:
            return
        for name, value in report.user_properties:
            if name == "score" and isinstance(value, (tuple, list)):
                self._scores.append(Score(*value))
            elif name == "figure" and isinstance(value, (tuple, list)):
                self._figures.append(Figure(*value))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(self._write())

    def _write(self) -> str:
        if self._failed:
            return f"{self._path} stays as it is: {self._failed} tests failed"
        text = self._path.read_text("utf-8")
        if not MARKS.search(text):
            raise pytest.UsageError(f"{self._path} has no marks for a scorecard")
        card = f"\n{table(self._scores)}\n{_RELAYED}\n{relayed(self._scores)}\n{figures(self._figures)}\n"
        self._path.write_text(MARKS.sub(lambda found: found[1] + card + found[2], text), "utf-8")
        return f"wrote {self._path}"


def table(scores: Iterable[Score]) -> str:
    """One row a fault, or two where whole answers and streams fare differently."""
    cells = _cells(scores)
    lines = _head("asked for")
    for fault in every().values():
        whole, stream = (_row(cells.get((fault.name, streamed), {})) for streamed in (False, True))
        kinds = [("both", whole)] if whole == stream else [("whole", whole), ("stream", stream)]
        lines += [f"| {fault.about} (`{fault.name}`) | {kind} | {row} |" for kind, row in kinds if row]
    return "\n".join(lines) + "\n"


def relayed(scores: Iterable[Score]) -> str:
    """The streams that are relayed in a protocol of the client's: a row for each fault and protocol. Their cases have
    the protocol's name before them.
    """
    found = list(scores)
    lines = _head("in")
    for fault in every().values():
        for protocol in PROTOCOLS:
            own = [
                score._replace(case=score.case.removeprefix(f"{protocol} "))
                for score in found
                if score.case.startswith(f"{protocol} ")
            ]
            row = _row(_cells(own).get((fault.name, True), {}))
            lines += [f"| {fault.about} (`{fault.name}`) | {protocol} | {row} |"] if row else []
    return "\n".join(lines) + "\n"


def _head(kind: str) -> list[str]:
    return [
        f"| the upstream … | {kind} | alone, the client gets | calls | with another target | calls |",
        "|---|---|---|--:|---|--:|",
    ]


def _cells(scores: Iterable[Score]) -> dict[tuple[str, bool], dict[str, Score]]:
    cells: dict[tuple[str, bool], dict[str, Score]] = {}
    for score in scores:
        if score.case in ("alone", "spared"):
            cells.setdefault((score.fault, score.stream), {})[score.case] = score
    return cells


def _row(cases: dict[str, Score]) -> str:
    if cases.keys() != {"alone", "spared"}:
        return ""
    alone, spared = cases["alone"], cases["spared"]
    return f"{alone.got} | {alone.calls} | {spared.got} | {spared.calls}"


def figures(found: Iterable[Figure]) -> str:
    """The measured numbers, by name; of several of one name the last one counts."""
    latest = {figure.name: figure.value for figure in found}
    rows = [f"| {name} | {value} |" for name, value in sorted(latest.items())]
    return "\n".join(["| measured | |", "|---|--:|", *rows]) + "\n"
