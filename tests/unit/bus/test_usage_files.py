"""A file of events goes only when no more of it can come."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.bus.usage_files import Segment, keep_positions, positions_of, remove, segments
from gateway.bus.usage_journal import Journal, journal_name, recover, segment_name

LINE = b'{"id":"req_1"}\n'


@pytest.fixture
def first(tmp_path: Path) -> Segment:
    """A worker's first segment as a reader saw it, read whole; the worker has turned to the next."""
    (tmp_path / segment_name(0, 1)).write_bytes(LINE)
    (tmp_path / segment_name(0, 2)).write_bytes(LINE)
    return segments(tmp_path)[0]


def left_behind(directory: Path) -> None:
    journal = Journal.open(directory / journal_name(0))
    assert journal is not None
    journal.begin(1, len(LINE), bytearray(LINE))
    journal.close()


def test_a_file_of_which_there_is_no_more_goes(first: Segment) -> None:
    assert remove(first)
    assert not first.path.exists()
    assert remove(first), "it is gone"


def test_a_file_stays_while_a_journal_holds_more_of_it(first: Segment, tmp_path: Path) -> None:
    left_behind(tmp_path)
    assert not remove(first)
    assert first.path.read_bytes() == LINE


def test_a_file_stays_that_has_grown_since_it_was_looked_at(first: Segment, tmp_path: Path) -> None:
    left_behind(tmp_path)
    recover(tmp_path)
    assert not remove(first)
    assert first.path.read_bytes() == 2 * LINE
    assert remove(segments(tmp_path)[0])


def test_two_threads_may_keep_how_far_the_ledger_is(tmp_path: Path) -> None:
    """A round that is cancelled leaves its thread writing, and the end writes too."""

    def keep(number: int) -> None:
        for at in range(100):
            keep_positions(tmp_path, "files", {"usage-0-00000001.jsonl": number * 1_000 + at})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keep, range(4)))
    assert positions_of(tmp_path).files["usage-0-00000001.jsonl"] % 1_000 == 99
