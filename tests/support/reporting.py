"""What is told of failed tests at the end of a run, where whoever reads the last lines alone finds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

MARKED = 10  # lines of a failure's message
LAST = 10  # lines of what came at its end
WIDEST = 400  # characters of a line


def reason(text: str) -> list[str]:
    """The lines of a report that tell why: the beginning of its message, and its end."""
    lines = text.splitlines()
    marked = [at for at, line in enumerate(lines) if line.startswith("E ")][:MARKED]
    shown = sorted({*marked, *range(max(0, len(lines) - LAST), len(lines))})
    return [lines[at][:WIDEST] for at in shown if lines[at].strip()]


def told(reports: Sequence[pytest.TestReport | pytest.CollectReport]) -> Iterator[str]:
    """A few lines for each report."""
    for report in reports:
        yield f"FAILED {report.nodeid} ({getattr(report, 'when', None) or 'collect'})"
        yield from (f"    {line}" for line in reason(report.longreprtext))
