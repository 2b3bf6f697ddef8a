"""The published scorecard tells what the tests hold the gateway to."""

from __future__ import annotations

from pathlib import Path

from tests.faults.resilience.expected import ROWS
from tests.faults.resilience.test_native import FAULTS
from tests.faults.scorecard import MARKS, PROTOCOLS, Figure, Score, figures, relayed, table
from tests.faults.upstream.registry import every

PUBLISHED = Path(__file__).parents[3] / "docs" / "resilience.md"


def test_equal_outcomes_share_a_row() -> None:
    scores = [
        Score("503", stream, case, got, calls)
        for stream in (False, True)
        for case, got, calls in (("alone", "503 `overloaded`", 2), ("spared", "the whole answer", 3))
    ]
    row = "| answers 503 always (`503`) | both | 503 `overloaded` | 2 | the whole answer | 3 |"
    assert row in table(scores).splitlines()
    scores[0] = scores[0]._replace(calls=1)
    lines = [line for line in table(scores).splitlines() if "`503`" in line]
    assert [line.split(" | ")[1:4] for line in lines] == [
        ["whole", "503 `overloaded`", "1"],
        ["stream", "503 `overloaded`", "2"],
    ]


def test_what_was_not_tested_is_not_told() -> None:
    assert "503" not in table([Score("503", False, "alone", "503 `overloaded`", 2)])


def test_relayed_streams_have_rows_of_their_own() -> None:
    scores = [
        Score("stream-cut", True, "Messages alone", "4 words, then the error `upstream_reset`", 1),
        Score("stream-cut", True, "Messages spared", "the whole answer", 2),
        Score("stream-cut", True, "Responses alone", "4 words", 1),
    ]
    (row,) = relayed(scores).splitlines()[2:]
    assert row.endswith("| Messages | 4 words, then the error `upstream_reset` | 1 | the whole answer | 2 |")
    assert len(table(scores).splitlines()) == 2


def test_figures_are_told_once() -> None:
    assert figures([Figure("b", "1 ms"), Figure("a", "2"), Figure("b", "3 ms")]).splitlines()[2:] == [
        "| a | 2 |",
        "| b | 3 ms |",
    ]


def test_the_published_one_is_that_of_these_tests() -> None:
    """Every fault, with the calls and the error that the matrix demands."""
    found = MARKS.search(PUBLISHED.read_text("utf-8"))
    assert found is not None
    lines = found[0].splitlines()
    abouts = {fault.name: fault.about for fault in every().values()}
    for row in ROWS:
        kinds = ("both", "stream" if row.stream else "whole")
        starts = tuple(f"| {abouts[row.fault]} (`{row.fault}`) | {kind} | " for kind in kinds)
        (line,) = (line for line in lines if line.startswith(starts))
        alone, calls, spared, spared_calls = line.removesuffix(" |").split(" | ")[2:]
        assert (int(calls), int(spared_calls)) == (row.calls, sum(row.spared_calls)), f"run make scorecard: {line}"
        assert alone == "the whole answer" if not row.alone else f"`{row.alone}`" in alone
        assert spared == "the whole answer" if not row.spared else f"`{row.spared}`" in spared


def test_the_published_one_tells_of_relayed_streams() -> None:
    found = MARKS.search(PUBLISHED.read_text("utf-8"))
    assert found is not None
    lines = found[0].splitlines()
    for fault, _, _ in FAULTS:
        for protocol in PROTOCOLS:
            (line,) = (line for line in lines if f"(`{fault}`) | {protocol} | " in line)
            assert line.endswith(" | 1 | the whole answer | 2 |"), f"run make scorecard: {line}"
