"""The file of known credentials: true as of the last change, sealed, bounded, gone where it can't be written."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from gateway.contract.internal import KNOWN as FILE
from gateway.contract.policy import Change, ChangeKind, CredentialPolicy, LimitPolicy
from gateway.dataplane.known import Known
from gateway.kernel.secrets import digest_of

SIDECAR = "unix:/run/sidecar.sock"
POLICY = CredentialPolicy(
    "key_1", "one", "api_key", "acme", user="u1", plan="pro", app="app_1",
    limits=(LimitPolicy("key", "key_1", "requests", 5, "hour"),),
)  # fmt: skip


def opened(folder: Path, *, master_key: str = "m", sidecar: str = SIDECAR, most: int = 100) -> Known:
    return Known(folder / FILE, master_key, sidecar, most)


def digest(name: str) -> bytes:
    return digest_of(name.encode())


def change(seq: int, kind: ChangeKind, id: str, named: bytes | None = None) -> Change:
    return Change(seq, time.time_ns(), kind, id, None if named is None else named.hex())


@pytest.fixture
def known(tmp_path: Path) -> Iterator[Known]:
    made = opened(tmp_path)
    made.learnt(digest("one"), POLICY, 1)
    made.heard()
    made.flush()
    yield made
    made.close()


def test_it_survives_its_process(known: Known, tmp_path: Path) -> None:
    after = opened(tmp_path)
    assert after.find(digest("one")) == POLICY
    assert after.find(digest("two")) is None
    assert after.age() < 60
    after.close()


def test_nothing_was_ever_heard(tmp_path: Path) -> None:
    fresh = opened(tmp_path)
    assert fresh.age() == float("inf")
    assert fresh.seq is None
    fresh.close()


@pytest.mark.parametrize(
    ("kind", "id"),
    [
        ("credential", "key_1"), ("user", "u1"), ("organization", "acme"), ("plan", "pro"), ("app", "app_1"),
        ("everything", ""),
    ],
)  # fmt: skip
def test_what_a_change_is_about_goes(known: Known, tmp_path: Path, kind: ChangeKind, id: str) -> None:
    known.changed(change(7, kind, id))
    assert known.find(digest("one")) is None, "before it is flushed too"
    after = opened(tmp_path)
    assert after.find(digest("one")) is None
    assert after.seq == 7
    after.close()


def test_a_change_of_another_leaves_it(known: Known) -> None:
    known.changed(change(7, "credential", "key_2", digest("two")))
    known.changed(change(8, "pricing", "p"))
    assert known.find(digest("one")) == POLICY


def test_a_digest_that_a_change_names_goes(known: Known) -> None:
    known.changed(change(7, "credential", "key_9", digest("one")))
    assert known.find(digest("one")) is None


def test_an_answer_that_another_worker_knows_to_be_old_does_not_go_in(known: Known, tmp_path: Path) -> None:
    other = opened(tmp_path)
    other.changed(change(7, "credential", "key_1"))
    other.flush()
    known.learnt(digest("one"), POLICY, 6)
    assert known.find(digest("one")) is None
    known.learnt(digest("one"), POLICY, 7)
    assert known.find(digest("one")) == POLICY
    other.close()


@pytest.mark.parametrize(("master_key", "sidecar"), [("other", SIDECAR), ("m", "http://10.0.0.1:9090")])
def test_it_is_sealed(known: Known, tmp_path: Path, master_key: str, sidecar: str) -> None:
    other = opened(tmp_path, master_key=master_key, sidecar=sidecar)
    assert other.find(digest("one")) is None
    assert other.seq is None
    other.close()


def test_a_row_that_somebody_wrote_is_none(known: Known, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute("UPDATE known SET digest = ?", (digest("thief"),))
        database.commit()
    assert known.find(digest("thief")) is None


def test_it_is_bounded(tmp_path: Path) -> None:
    made = opened(tmp_path, most=10)
    for number in range(50):
        made.learnt(digest(f"n{number}"), POLICY, 1)
    made.learnt(digest("n41"), POLICY, 1)
    made.flush()
    found = [number for number in range(50) if made.find(digest(f"n{number}"))]
    assert found == list(range(41, 50)), "of ten rows one was there twice"
    made.close()


def test_a_file_that_is_none_is_replaced_by_none(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    made = opened(tmp_path)
    made.learnt(digest("one"), POLICY, 1)
    assert made.find(digest("one")) is None
    assert not (tmp_path / FILE).exists()
    assert made.age() == float("inf")
    made.close()


def test_what_cannot_be_written_is_removed(known: Known, tmp_path: Path) -> None:
    """Or a credential that was revoked would be found in it later."""
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute("CREATE TRIGGER full BEFORE DELETE ON known BEGIN SELECT RAISE(ABORT, 'full'); END")
        database.commit()
    known.changed(change(7, "credential", "key_1"))
    known.flush()
    assert not (tmp_path / FILE).exists()
    assert known.find(digest("one")) is None


@pytest.mark.parametrize("seq", [2, 3])
def test_a_change_that_was_known_when_it_was_learnt_leaves_it(known: Known, tmp_path: Path, seq: int) -> None:
    """The sidecar may tell of a change by an answer before the feed does."""
    known.learnt(digest("two"), msgspec.structs.replace(POLICY, id="key_2"), 3)
    known.changed(change(seq, "credential", "key_2", digest("two")))
    assert known.find(digest("two")) is not None
    known.changed(change(4, "credential", "key_2", digest("two")))
    assert known.find(digest("two")) is None


def test_a_file_of_before_is_read_and_forgets_at_any_change(tmp_path: Path) -> None:
    made = opened(tmp_path)
    made.learnt(digest("one"), POLICY, 9)
    made.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute("ALTER TABLE known DROP COLUMN seq")
    after = opened(tmp_path)
    assert after.find(digest("one")) == POLICY
    after.changed(change(1, "credential", "key_1"))
    assert after.find(digest("one")) is None
    after.close()
