"""The files by which processes tell each other their numbers."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.dataplane.metrics import Metrics
from gateway.dataplane.snapshots import Labels, Snapshot, SnapshotFiles, Tally
from gateway.kernel.processes import is_alive
from tests.support.usage import usage_event

RUN = f"{os.getpid()}-abc123"


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not is_alive(process.pid)
    return process.pid


def counted(requests: int) -> Snapshot:
    metrics = Metrics()
    for _ in range(requests):
        metrics.served(usage_event())
    return metrics.snapshot(os.getpid())


def test_a_process_reads_what_the_others_published(tmp_path: Path) -> None:
    mine, others = SnapshotFiles(tmp_path, RUN, "worker-0"), SnapshotFiles(tmp_path, RUN, "worker-1")
    assert mine.open() is None
    assert mine.others() == {}
    snapshot = counted(2)
    others.publish(snapshot)
    mine.publish(counted(1))
    assert mine.others() == {"worker-1": snapshot}
    assert SnapshotFiles(tmp_path, RUN, "worker-1").open() == snapshot


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path, RUN, "worker-0")
    snapshot = counted(1)
    files.publish(snapshot)
    path = next(tmp_path.iterdir())
    path.unlink()
    files.publish(snapshot)
    assert not path.exists()
    files.publish(counted(2))
    assert path.exists()


def test_a_dead_process_keeps_its_counters_and_loses_its_gauges(tmp_path: Path, dead: int) -> None:
    gauges: dict[str, dict[Labels, float]] = {"gateway_open_streams": {("fake",): 3.0}}
    counters: dict[str, dict[Labels, float]] = {"gateway_malformed_requests": {(): 7.0}}
    SnapshotFiles(tmp_path, RUN, "worker-1").publish(Snapshot(dead, {}, counters, gauges))
    SnapshotFiles(tmp_path, RUN, "worker-2").publish(Snapshot(os.getpid(), {}, counters, gauges))
    found = SnapshotFiles(tmp_path, RUN, "worker-0").others()
    assert found["worker-1"].counters == counters
    assert found["worker-1"].gauges == {}
    assert found["worker-2"].gauges == gauges


def test_files_of_earlier_runs_are_removed(tmp_path: Path, dead: int) -> None:
    for run in (f"{dead}-00ff", f"{os.getpid()}-00ff", f"{os.getppid()}-00ff"):
        SnapshotFiles(tmp_path, run, "worker-0").publish(counted(1))
    (tmp_path / f"metrics-{dead}-00ff-worker-1.msgpack.new").write_bytes(b"half")
    (tmp_path / "local-1.sock").touch()
    files = SnapshotFiles(tmp_path, RUN, "worker-0")
    assert files.open() is None
    # Another gateway that runs over the same directory keeps its own.
    assert {path.name for path in tmp_path.iterdir()} == {
        "local-1.sock",
        f"metrics-{os.getppid()}-00ff-worker-0.msgpack",
    }
    assert files.others() == {}


@pytest.mark.parametrize("content", [b"", b"\xc1", b"not msgpack", b"\x91\xa1x"])
def test_a_file_that_makes_no_sense_is_passed_over(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"metrics-{RUN}-worker-0.msgpack").write_bytes(content)
    (tmp_path / f"metrics-{RUN}-worker-1.msgpack").write_bytes(content)
    files = SnapshotFiles(tmp_path, RUN, "worker-0")
    assert files.open() is None
    assert files.others() == {}
    assert "counters can't be read" in caplog.text


def test_a_disk_that_takes_nothing_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "run"
    blocked.write_text("a file where the directory should be")
    files = SnapshotFiles(blocked, RUN, "worker-0")
    with caplog.at_level(logging.WARNING):
        assert files.open() is None
        for number in range(3):
            files.publish(counted(number))
        assert files.others() == {}
    assert caplog.text.count("counters can't be shared") == 1


def test_series_of_another_layout_are_not_taken_up() -> None:
    base = counted(1)
    base.series = {key: series[:-1] for key, series in base.series.items()}
    assert Metrics(base).snapshot(1).series == {}


def test_the_supervisor_counts_too(tmp_path: Path) -> None:
    tally = Tally(str(tmp_path), RUN)
    tally.reloaded(True)
    tally.reloaded(False)
    tally.restarted("worker 1")
    tally.restarted("worker 1")
    found = SnapshotFiles(tmp_path / "run", RUN, "worker-0").others()["supervisor"]
    assert found.counters["gateway_config_reloads"] == {("supervisor", "ok"): 1, ("supervisor", "failed"): 1}
    assert found.counters["gateway_process_restarts"] == {("worker-1",): 2}
    assert found.gauges["gateway_config_last_reload_successful"] == {(): 0}
    tally.close()
    assert list((tmp_path / "run").iterdir()) == []
