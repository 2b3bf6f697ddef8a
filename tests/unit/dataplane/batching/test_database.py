"""What is kept of files and batches: bounded, apart by organisation, and each answer once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.dataplane.batching.database import FILE, Database
from gateway.dataplane.batching.records import OUTPUT, Author, Batch, File
from gateway.kernel.errors import GatewayError
from gateway.settings.model import Batches

NOW = 1_800_000_000
DAY = 86_400
LIMITS = Batches(organization_bytes=100, organization_files=3, organization_batches=2, max_bytes=150)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A new one."""
    made = Database(tmp_path / "batches")
    yield made
    made.close()


def put(database: Database, organization: str, file_id: str, size: int = 10, **changes: Any) -> File:
    """A file that has arrived, with its content."""
    file = File(file_id, "in.jsonl", "batch", size, NOW, NOW + DAY, **changes)
    database.reserve(organization, file, LIMITS)
    (database.folder / file_id).write_bytes(b"x" * size)
    database.arrived(file)
    return file


def create(database: Database, organization: str, batch_id: str, file_id: str, created: int = NOW) -> Batch:
    """A batch that waits."""
    author = Author("key", "00")
    batch = Batch(batch_id, organization, author, "/v1/embeddings", file_id, created, created + DAY)
    database.create(batch, LIMITS, NOW)
    return batch


def ended(database: Database, batch_id: str) -> None:
    """A batch is over."""
    database.change(batch_id, lambda batch: batch.enter("completed", NOW))


def code_of(raised: pytest.ExceptionInfo[GatewayError]) -> str:
    return raised.value.code


def test_a_file_is_there_once_it_has_arrived(database: Database) -> None:
    file = File("file-1", "in.jsonl", "batch", 90, NOW, NOW + DAY)
    database.reserve("acme", file, LIMITS)
    assert database.file("acme", "file-1", NOW) is None
    assert database.used("acme") == 90
    file.bytes, file.filename = 7, "other.jsonl"
    database.arrived(file)
    assert database.file("acme", "file-1", NOW) == file
    assert database.used("acme") == 7
    assert database.file("acme", "file-1", NOW + DAY) is None
    assert stat.S_IMODE((database.folder / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(database.folder.stat().st_mode) == 0o700


def test_no_upload_goes_beyond_what_is_allowed(database: Database) -> None:
    put(database, "acme", "file-1", 60)
    with pytest.raises(GatewayError) as raised:
        put(database, "acme", "file-2", 41)
    assert code_of(raised) == "storage_quota_exceeded"
    put(database, "acme", "file-3", 40)
    with pytest.raises(GatewayError) as raised:
        put(database, "other", "file-4", 51)
    assert code_of(raised) == "storage_full"
    put(database, "other", "file-5", 10)
    put(database, "other", "file-6", 10)
    put(database, "other", "file-7", 10)
    with pytest.raises(GatewayError) as raised:
        put(database, "other", "file-8", 10)
    assert code_of(raised) == "storage_quota_exceeded"
    database.drop("file-5")
    assert database.used() == 120
    with pytest.raises(OSError, match="given away"):
        database.arrived(File("file-5", "in.jsonl", "batch", 1, NOW, NOW + DAY))


def test_an_organisation_has_nothing_of_anothers(database: Database) -> None:
    put(database, "acme", "file-1")
    put(database, "other", "file-2")
    create(database, "acme", "batch_1", "file-1")
    assert database.file("other", "file-1", NOW) is None
    assert [file.id for file in database.files("other", NOW, None, None, 10, ascending=True)] == ["file-2"]
    assert database.files("other", NOW, None, "file-1", 10, ascending=True) == []
    assert database.batch("other", "batch_1") is None
    assert database.batches("other", None, 10) == []
    assert database.batches("other", "batch_1", 10) == []
    with pytest.raises(GatewayError, match="not found"):
        create(database, "other", "batch_2", "file-1")


def test_files_are_listed_page_by_page(database: Database) -> None:
    files = [put(database, "acme", f"file-{i}") for i in range(3)]
    output = File("file-out", "out.jsonl", OUTPUT, 5, NOW, NOW + DAY)
    create(database, "acme", "batch_1", "file-0")
    database.finish("batch_1", [output], lambda batch: batch.enter("completed", NOW))
    everything = [*files, output]

    def listed(purpose: str | None, after: str | None, limit: int, ascending: bool) -> list[File]:
        return database.files("acme", NOW, purpose, after, limit, ascending=ascending)

    assert listed(None, None, 10, True) == everything
    assert listed(None, None, 2, False) == [output, files[2]]
    assert listed(None, "file-2", 2, False) == [files[1], files[0]]
    assert listed(None, "file-0", 1, True) == [files[1]]
    assert listed(OUTPUT, None, 10, True) == [output]


def test_a_file_that_a_batch_needs_stays(database: Database) -> None:
    put(database, "acme", "file-1")
    create(database, "acme", "batch_1", "file-1")
    with pytest.raises(GatewayError) as raised:
        database.remove("acme", "file-1")
    assert code_of(raised) == "file_in_use"
    assert (database.folder / "file-1").exists()
    ended(database, "batch_1")
    database.remove("acme", "file-1")
    assert not (database.folder / "file-1").exists()
    assert database.used() == 0


def test_an_organisation_has_only_so_many_batches_to_come(database: Database) -> None:
    put(database, "acme", "file-1")
    create(database, "acme", "batch_1", "file-1")
    create(database, "acme", "batch_2", "file-1")
    with pytest.raises(GatewayError) as raised:
        create(database, "acme", "batch_3", "file-1")
    assert code_of(raised) == "too_many_batches"
    ended(database, "batch_1")
    create(database, "acme", "batch_3", "file-1")
    assert [batch.id for batch in database.batches("acme", None, 2)] == ["batch_3", "batch_2"]
    assert [batch.id for batch in database.batches("acme", "batch_2", 2)] == ["batch_1"]


def test_the_first_batch_of_every_organisation_comes_before_the_second_of_any(database: Database) -> None:
    for organization in ("a", "b", "c"):
        put(database, organization, f"file-{organization}")
        create(database, organization, f"batch_{organization}1", f"file-{organization}")
        create(database, organization, f"batch_{organization}2", f"file-{organization}")
    ended(database, "batch_a1")
    assert [batch.id for batch in database.next_up(1, 10)] == ["batch_a2", "batch_b1", "batch_c1"]
    assert [batch.id for batch in database.next_up(2, 4)] == ["batch_a2", "batch_b1", "batch_c1", "batch_b2"]
    assert [batch.id for batch in database.named(["batch_c2", "batch_x"])] == ["batch_c2"]


def test_a_line_has_one_answer(database: Database) -> None:
    put(database, "acme", "file-1")
    create(database, "acme", "batch_1", "file-1")
    assert database.record("batch_1", 4, b"four\n", failed=True)
    assert database.record("batch_1", 2, b"two\n", failed=False)
    assert not database.record("batch_1", 2, b"another\n", failed=True)
    assert list(database.answered("batch_1")) == [2, 4]
    assert list(database.answers("batch_1")) == [(2, False, b"two\n"), (4, True, b"four\n")]
    batch = database.batch("acme", "batch_1")
    assert batch is not None
    assert (batch.done, batch.failed, batch.stored) == (1, 1, 9)
    assert database.used("acme") == 19
    changed = database.change("batch_1", lambda batch: batch.enter("in_progress", NOW))
    assert changed is not None
    assert (changed.done, changed.failed, changed.stored, changed.at) == (1, 1, 9, {"in_progress": NOW})


def test_a_batch_ends_once(database: Database) -> None:
    put(database, "acme", "file-1")
    create(database, "acme", "batch_1", "file-1")
    database.record("batch_1", 0, b"zero\n", failed=False)
    for file_id in ("file-out", "file-again"):
        output = File(file_id, "out.jsonl", OUTPUT, 5, NOW, NOW + DAY)
        database.finish("batch_1", [output], lambda batch: batch.enter("completed", NOW))
    assert database.file("acme", "file-out", NOW) is not None
    assert database.file("acme", "file-again", NOW) is None
    assert database.used("acme") == 15
    assert database.next_up(9, 9) == []
    database.finish("batch_9", [], lambda batch: batch.enter("completed", NOW))
    assert database.change("batch_9", lambda batch: None) is None


def swept(database: Database, now: float) -> None:
    """Sweep until nothing goes any more."""
    while database.sweep(now, 30 * DAY):
        pass


def test_what_is_over_goes_in_time(database: Database) -> None:
    put(database, "acme", "file-1")
    put(database, "acme", "file-2")
    create(database, "acme", "batch_1", "file-1")
    create(database, "acme", "batch_2", "file-2")
    database.record("batch_1", 0, b"zero\n", failed=False)
    database.record("batch_2", 0, b"zero\n", failed=False)
    ended(database, "batch_1")
    swept(database, NOW)
    assert not database.answered("batch_1")
    assert list(database.answered("batch_2")) == [0]
    assert database.batch("acme", "batch_1") is not None
    swept(database, NOW + 31 * DAY)
    assert database.batch("acme", "batch_1") is None
    assert database.batch("acme", "batch_2") is not None  # it is not over
    assert not (database.folder / "file-1").exists()
    assert (database.folder / "file-2").exists()  # nor is its file done with


def test_what_a_process_left_behind_goes(database: Database) -> None:
    put(database, "acme", "file-1")
    lost = File("file-lost", "in.jsonl", "batch", 10, NOW, NOW + DAY)
    database.reserve("acme", lost, LIMITS)
    for name in ("file-lost", "file-new", "file-stray"):
        (database.folder / name).write_bytes(b"x")
    hours_ago = NOW - 3 * 3_600
    for name in ("file-1", "file-stray"):
        os.utime(database.folder / name, (hours_ago, hours_ago))
    os.utime(database.folder / "file-new", (NOW, NOW))
    swept(database, NOW)
    assert database.used() == 20
    database.sweep_folder(NOW)
    assert sorted(path.name for path in database.folder.glob("file-*")) == ["file-1", "file-lost", "file-new"]
    swept(database, NOW + 3 * 3_600)
    assert database.used() == 10
    assert not (database.folder / "file-lost").exists()
