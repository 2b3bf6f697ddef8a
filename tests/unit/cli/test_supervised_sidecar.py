"""The sidecar as the supervisor's child: its start, death, reload and end, none of which concern the workers."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from tests.unit.cli.conftest import CONFIG, Running, Start
from tests.unit.cli.test_supervisor import LOCAL, OTHER, wait_gone


def sidecar_of(running: Running) -> int:
    """The process id of the sidecar, once its program runs."""
    running.wait_log("sidecar: started")
    (pid,) = [pid for pid, line in running.children().items() if "standin_sidecar" in line]
    return pid


def test_it_runs_beside_the_workers_and_they_know_where(start: Start, tmp_path: Path) -> None:
    running = start(env={"GATEWAY_MASTER_KEY": "gw_live_secret"}).wait_ready()
    pid = sidecar_of(running)
    path = tmp_path / "data" / "run" / "sidecar.sock"
    line = running.children()[pid]
    assert f"--config {tmp_path / 'gateway.yaml'} --socket {path}" in line
    assert running.ask()["sidecar"] == f"unix:{path}"
    assert running.ready["sidecar"] == f"unix:{path}"
    assert "gw_live_" not in line


def test_the_workers_go_on_when_it_dies(start: Start) -> None:
    running = start().wait_ready()
    worker = running.ask()["pid"]
    sidecar = sidecar_of(running)
    os.kill(sidecar, signal.SIGKILL)
    place = running.wait_log("sidecar was killed by SIGKILL; it is started again in 0.25 s")
    assert running.ask()["pid"] == worker
    running.wait_log("sidecar: started", place)
    assert running.ask()["pid"] == worker


def test_one_that_ends_at_once_is_started_ever_later(start: Start) -> None:
    running = start(env={"STANDIN_SIDECAR": "quick"}).wait_ready()
    place = running.wait_log("sidecar exited with code 3; it is started again in 0.25 s")
    place = running.wait_log("sidecar exited with code 3; it is started again in 0.50 s", place)
    running.wait_log("sidecar exited with code 3; it is started again in 1.00 s", place)
    assert running.ask()["models"] == ["first"]
    running.send(signal.SIGTERM)
    assert running.wait() == 0


def test_a_faulty_configuration_is_told_once_and_tried_again_when_it_changes(start: Start, tmp_path: Path) -> None:
    running = start(env={"STANDIN_SIDECAR": "fault"}).wait_ready()
    place = running.wait_log("the sidecar cannot run with this configuration")
    assert running.ask()["models"] == ["first"]
    assert not any("it is started again" in line for line in running.lines)
    running.configure(OTHER)
    running.send(signal.SIGHUP)
    running.wait_log("the sidecar cannot run with this configuration", place)
    # Once more where the changed file was noticed before the signal came.
    assert sum("sidecar: started" in line for line in running.lines) in (2, 3)


def test_it_reads_the_configuration_again(start: Start) -> None:
    running = start().wait_ready()
    sidecar_of(running)
    running.send(signal.SIGHUP)
    # Where the signal comes before the sidecar is ready, it is told once it is.
    running.wait_log("sidecar: reloaded")


def test_it_goes_after_the_workers(start: Start) -> None:
    running = start().wait_ready()
    sidecar = sidecar_of(running)
    assert running.ask("/stubborn")["pid"]
    running.send(signal.SIGTERM)
    running.wait_log('"message":"stopping"')
    os.kill(sidecar, 0)
    assert not any("sidecar: stopped" in line for line in running.lines)
    running.send(signal.SIGINT)
    running.wait()
    wait_gone(sidecar)


def test_it_is_asked_to_stop(start: Start) -> None:
    running = start(config=LOCAL).wait_ready()
    sidecar = sidecar_of(running)
    running.send(signal.SIGTERM)
    assert running.wait() == 0
    running.wait_log("sidecar: stopped")
    wait_gone(sidecar)


def test_proxy_starts_none_and_knows_of_none(start: Start) -> None:
    running = start("proxy", "--json").wait_ready()
    answer = running.ask()
    assert answer["models"] == ["first"]
    assert answer["sidecar"] is None
    assert running.ready["sidecar"] is None
    assert set(running.children()) == {answer["pid"]}


def test_proxy_uses_the_one_of_the_configuration(start: Start) -> None:
    config = CONFIG + "sidecar: {url: 'http://sidecar.example:9090'}\n"
    assert start("proxy", "--json", config=config).wait_ready().ask()["sidecar"] == "http://sidecar.example:9090"


def test_proxy_uses_the_one_beside_data_dir(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "data" / "run" / "sidecar.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert start("proxy", "--json").wait_ready().ask()["sidecar"] == f"unix:{path}"
