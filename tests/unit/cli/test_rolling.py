"""Workers that are replaced one by one, with stand-ins for them."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from gateway.cli.rolling import first_indexes
from tests.unit.cli.conftest import CONFIG, Start, until
from tests.unit.cli.test_supervisor import OTHER, wait_gone


def test_every_worker_is_replaced_and_a_slow_request_finishes(start: Start) -> None:
    running = start(config=CONFIG.replace("port: 0", "port: 0, workers: 2")).wait_ready()
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(running.ask("/slow")))
    asking.start()
    running.wait_log("slow request")
    running.send(signal.SIGUSR2)
    place = running.wait_log("worker 0 is replaced")
    running.wait_log("worker 1 is replaced", place)
    asking.join(30)
    (slow,) = answers
    assert isinstance(slow, dict)
    wait_gone(slow["pid"])
    places: dict[int, int] = {}
    while len(places) < 2:
        answer = running.ask()
        places[answer["place"]] = answer["index"]
    assert set(places) == {0, 1}
    assert len(set(places.values())) == 2
    until(lambda: slow["pid"] not in running.children())  # it has ended; the supervisor may have to be told yet
    running.send(signal.SIGTERM)
    assert running.wait() == 0


def test_one_that_does_not_start_is_given_up(start: Start, tmp_path: Path) -> None:
    running = start(env={"STANDIN_FAILS_IF": str(tmp_path / "flag")}).wait_ready()
    first = running.ask()
    (tmp_path / "flag").touch()
    running.send(signal.SIGUSR2)
    running.wait_log("the new worker 0 exited with code 3 before it was ready; the old workers stay")
    assert running.ask()["pid"] == first["pid"]
    (tmp_path / "flag").unlink()
    running.send(signal.SIGUSR2)
    running.wait_log("worker 0 is replaced")
    wait_gone(first["pid"])
    second = running.ask()
    assert (second["place"], second["after"]) == (0, first["index"])


def test_an_old_one_that_does_not_end_is_killed(start: Start) -> None:
    running = start(config=CONFIG.replace("drain: 10", "drain: 0.1"), env={"TEST_MARGIN": "0.1"}).wait_ready()
    first = running.ask("/stubborn")
    running.send(signal.SIGUSR2)
    running.wait_log("worker 0, which was replaced, was killed by SIGKILL")
    wait_gone(first["pid"])
    assert running.ask()["pid"] != first["pid"]


def test_the_end_comes_in_the_midst_of_it(start: Start) -> None:
    running = start().wait_ready()
    first = running.ask("/stubborn")
    running.send(signal.SIGUSR2)
    running.wait_log("worker 0 is replaced")
    second = running.ask()
    os.kill(first["pid"], signal.SIGKILL)
    running.send(signal.SIGTERM)
    assert running.wait() == 0
    wait_gone(second["pid"])


def test_a_new_one_has_the_new_configuration(start: Start, tmp_path: Path) -> None:
    running = start().wait_ready()
    running.configure(OTHER)
    running.send(signal.SIGHUP)
    running.wait_log("the configuration was reloaded")
    first = running.ask()
    running.send(signal.SIGUSR2)
    running.wait_log("worker 0 is replaced")
    wait_gone(first["pid"])
    assert running.ask()["models"] == ["second"]


def test_indexes_that_left_something_come_first(tmp_path: Path) -> None:
    assert first_indexes(str(tmp_path / "none"), 2) == [0, 1]
    (tmp_path / "node-0.json").write_bytes(b"[]")
    (tmp_path / "node-3.json").write_bytes(b'[{"node":"n","mark":"1:0"}]')
    assert first_indexes(str(tmp_path), 1) == [3]
    assert first_indexes(str(tmp_path), 2) == [0, 3]
