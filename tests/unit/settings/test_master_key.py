from __future__ import annotations

import stat
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest

from gateway.settings.master_key import MasterKeyError, ensure, existing, key_file


def test_a_key_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    directory = str(tmp_path / "a" / "data")
    assert existing(directory) is None
    key, made = ensure(directory)
    assert made
    assert key.startswith("gw_live_")
    assert len(key) >= 8 + 43
    assert ensure(directory) == (key, False)
    assert existing(directory) == key
    assert stat.S_IMODE(key_file(directory).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(directory).stat().st_mode) == 0o700
    assert [path.name for path in Path(directory).iterdir()] == ["master_key"]


def test_two_keys_differ(tmp_path: Path) -> None:
    assert ensure(str(tmp_path / "a"))[0] != ensure(str(tmp_path / "b"))[0]


def test_starts_at_the_same_time_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPool(8) as pool:
        results = pool.map(lambda _: ensure(str(tmp_path)), range(8))
    assert len({key for key, _ in results}) == 1
    assert sum(made for _, made in results) == 1


def test_a_key_of_ones_own_is_used(tmp_path: Path) -> None:
    key_file(str(tmp_path)).write_text("my-own-key-1\n")
    assert ensure(str(tmp_path)) == ("my-own-key-1", False)


@pytest.mark.parametrize("data", [b"", b"short", b"two words of it", b"\xff" * 20])
def test_an_unusable_key_file_is_told_without_its_content(tmp_path: Path, data: bytes) -> None:
    key_file(str(tmp_path)).write_bytes(data)
    with pytest.raises(MasterKeyError) as caught:
        ensure(str(tmp_path))
    assert str(key_file(str(tmp_path))) in str(caught.value)
    assert "words" not in str(caught.value)


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MasterKeyError, match="data_dir"):
        ensure(str(tmp_path / "file" / "data"))
