"""The file of the providers' lists: replaced as a whole, read again when it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.contract.catalogue import Details
from gateway.domain.catalogue import file
from gateway.domain.catalogue.file import NAME, CatalogueError, Watched, held, read, write
from gateway.domain.catalogue.model import Catalogue, Listing


def catalogue(context: int) -> Catalogue:
    return Catalogue(providers={"p": Listing("http://p.test", "2026-01-02T03:04:05Z", {"a": Details("A", context)})})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert read(folder) == Catalogue()
    with held(folder):
        write(folder, catalogue(1))

    assert read(folder) == catalogue(1)
    assert sorted(os.listdir(folder)) == [NAME, f"{NAME}.lock"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"version": 2}', b'{"providers": {"p": 1}}', b"\xff"])
def test_a_file_that_is_none_is_told_with_its_name(tmp_path: Path, body: bytes) -> None:
    (tmp_path / NAME).write_bytes(body)

    with pytest.raises(CatalogueError, match=NAME):
        read(tmp_path)


def test_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, catalogue(1))
    monkeypatch.setattr(file, "LARGEST", 16)

    with pytest.raises(CatalogueError, match="larger than 16 bytes"):
        read(tmp_path)
    with pytest.raises(CatalogueError, match="larger than 16 bytes"):
        write(tmp_path, catalogue(2))


def test_a_directory_that_can_not_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")

    with pytest.raises(CatalogueError, match="can't be written to"), held(tmp_path / "data"):
        pass
    with pytest.raises(CatalogueError, match="can't be written"):
        write(tmp_path / "nowhere", catalogue(1))


def test_a_replaced_file_is_seen(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert watched.now() == Catalogue()
    write(tmp_path, catalogue(1))
    assert watched.now() == catalogue(1)
    assert watched.now() is watched.now()
    write(tmp_path, catalogue(2))
    assert watched.now() == catalogue(2)


def test_a_broken_file_leaves_what_was_known(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    write(tmp_path, catalogue(1))
    assert watched.now() == catalogue(1)
    (tmp_path / NAME).write_bytes(b"{")

    assert watched.now() == catalogue(1)
    assert NAME in (watched.fault or "")
    write(tmp_path, catalogue(2))
    assert watched.now() == catalogue(2)
    assert watched.fault is None


def test_a_removed_file_is_no_list(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    write(tmp_path, catalogue(1))
    watched.now()
    (tmp_path / NAME).unlink()

    assert watched.now() == Catalogue()
