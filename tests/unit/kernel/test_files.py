"""A file that is replaced is always whole."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.kernel.files import replace

WRITERS = 8
TIMES = 50


def test_any_number_may_replace_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    replace(path, b"0" * 1_000)
    begin = threading.Barrier(WRITERS)

    def write(number: int) -> set[bytes]:
        begin.wait()
        seen = set()
        for _ in range(TIMES):
            replace(path, b"%d" % number * 1_000)
            seen.add(path.read_bytes())
        return seen

    with ThreadPoolExecutor(WRITERS) as pool:
        seen = set().union(*pool.map(write, range(WRITERS)))
    assert seen <= {b"%d" % number * 1_000 for number in range(WRITERS)}
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        replace(path, b"new", lasting=True)
    assert list(tmp_path.iterdir()) == [path]


def test_its_permissions_are_those_of_the_last(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(b"open to all")
    path.chmod(0o644)
    replace(path, b"secret", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
