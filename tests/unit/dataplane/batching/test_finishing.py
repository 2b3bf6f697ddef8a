"""The files of a batch that is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import orjson
import pytest

from gateway.dataplane.batching.database import Database
from gateway.dataplane.batching.finishing import write_answers
from gateway.dataplane.batching.lines import Gentle
from gateway.dataplane.batching.records import Author, Batch, File
from gateway.settings.model import Batches

NOW = 1_800_000_000
LINES = [{"custom_id": f"id-{i}", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m"}} for i in range(5)]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """One with an input file of five lines, and an empty one between them."""
    made = Database(tmp_path)
    written = [orjson.dumps(line) for line in LINES]
    (tmp_path / "file-in").write_bytes(b"\n".join([*written[:2], b"", *written[2:]]))
    file = File("file-in", "in.jsonl", "batch", 1, NOW, NOW + 9)
    made.reserve("acme", file, Batches())
    made.arrived(file)
    yield made
    made.close()


def batch_in(database: Database, answered: dict[int, bool], **changes: Any) -> Batch:
    """The batch, with its answers: by line, whether it failed."""
    batch = Batch("batch_1", "acme", Author("key", "00"), "/v1/embeddings", "file-in", NOW, NOW + 9)
    database.create(batch, Batches(), NOW)
    for number, failed in answered.items():
        database.record("batch_1", number, b'{"line":%d}\n' % number, failed=failed)

    def change(now: Batch) -> None:
        now.total = 5
        for name, value in changes.items():
            setattr(now, name, value)

    changed = database.change("batch_1", change)
    assert changed is not None
    return changed


def content(database: Database, file: File | None) -> list[Any]:
    """The lines of a file, which must be as long as it says."""
    assert file is not None
    written = (database.folder / file.id).read_bytes()
    assert len(written) == file.bytes
    return [orjson.loads(line) for line in written.splitlines()]


def test_answers_are_in_the_order_of_the_lines(database: Database) -> None:
    batch = batch_in(database, {5: False, 4: True, 3: False, 1: False, 0: True})
    output, errors = write_answers(database.folder, batch, NOW, 100, 1_000, Gentle(Event()))
    assert content(database, output) == [{"line": 1}, {"line": 3}, {"line": 5}]
    assert content(database, errors) == [{"line": 0}, {"line": 4}]
    assert output is not None
    assert (output.filename, output.purpose, output.expires) == ("batch_1_output.jsonl", "batch_output", NOW + 100)


def test_every_line_is_in_one_of_the_files(database: Database) -> None:
    batch = batch_in(database, {1: False, 4: True}, ends_as="expired")
    output, errors = write_answers(database.folder, batch, NOW, 100, 1_000, Gentle(Event()))
    assert content(database, output) == [{"line": 1}]
    told = [
        each if "line" in each else (each["custom_id"], each["error"]["code"]) for each in content(database, errors)
    ]
    assert told == [("id-0", "batch_expired"), ("id-2", "batch_expired"), {"line": 4}, ("id-4", "batch_expired")]


def test_a_file_that_would_be_empty_is_not_made(database: Database) -> None:
    output, errors = write_answers(
        database.folder, batch_in(database, {}, ends_as="cancelled"), NOW, 100, 1_000, Gentle(Event())
    )
    assert output is None
    assert len(content(database, errors)) == 5


def test_nothing_is_left_of_files_that_could_not_be_written(database: Database) -> None:
    batch = batch_in(database, {0: False}, ends_as="expired")
    (database.folder / "file-in").unlink()
    before = sorted(path.name for path in database.folder.iterdir())
    with pytest.raises(FileNotFoundError):
        write_answers(database.folder, batch, NOW, 100, 1_000, Gentle(Event()))
    assert sorted(path.name for path in database.folder.iterdir()) == before
