"""What people are told while there is no engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.local.install_status import HOW_TO_INSTALL, explain, read

ROOT = Path(__file__).parents[3]
INSTALLER = ROOT / "scripts" / "install_local.py"


def written(path: Path, **fields: Any) -> Path:
    path.write_text(json.dumps({"state": "building", "message": "compiling llama.cpp", **fields}))
    return path


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_progress_is_told_while_the_installer_lives(tmp_path: Path) -> None:
    status = read(written(tmp_path / "s", pid=os.getpid(), done=57, total=83, started=time.time() - 61))
    assert status is not None
    assert status.running
    message, retry_after = explain(status)
    assert "compiling llama.cpp (57 of 83 files compiled), 61 s so far" in message
    assert retry_after == 10


def test_an_installer_that_died_is_not_waited_for(tmp_path: Path) -> None:
    status = read(written(tmp_path / "s", pid=dead_pid()))
    assert status is not None
    assert not status.running
    assert "not installed" in explain(status)[0]


def test_a_failure_is_told_with_its_reason(tmp_path: Path) -> None:
    status = read(written(tmp_path / "s", state="failed", message="no C compiler was found."))
    assert explain(status) == ("Installing the local model engine failed: no C compiler was found.", 60)


@pytest.mark.parametrize("content", ["", "{", '{"state": "asleep", "message": ""}', "[]"])
def test_an_unreadable_status_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "s").write_text(content)
    assert read(tmp_path / "s") is None
    assert "make run" in explain(read(tmp_path / "absent"))[0]


def test_what_is_advised_to_run_exists() -> None:
    assert f".venv/bin/python {INSTALLER.relative_to(ROOT)}`" in HOW_TO_INSTALL
    assert INSTALLER.is_file()
