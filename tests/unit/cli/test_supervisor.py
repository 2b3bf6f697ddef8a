"""Real process trees: start, reload, death, and every way to stop."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.unit.cli.conftest import CONFIG, Start, until

OTHER = CONFIG.replace("first", "second")
LOCAL = """
server: {port: 0, drain: 10}
providers: [{name: l, kind: llama_cpp, model: smollm2-135m-instruct}]
models: [{name: first, targets: [{provider: l, model: smollm2-135m-instruct}]}]
"""


def wait_gone(pid: int) -> None:
    """Wait until a process, which need not be a child of ours, has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], 30)[0], f"process {pid} is still there"
    finally:
        os.close(handle)


def test_it_serves_and_ends_on_sigterm(start: Start, tmp_path: Path) -> None:
    running = start().wait_ready()
    assert running.ready["event"] == "ready"
    assert running.ready["pid"] == running.process.pid
    assert running.ready["models"] == ["first"]
    assert running.ready["master_key_file"] == str(tmp_path / "data" / "master_key")
    answer = running.ask()
    assert answer["models"] == ["first"]
    assert answer["index"] == 0
    assert answer["master_key"] == (tmp_path / "data" / "master_key").read_text().strip()
    running.send(signal.SIGTERM)
    assert running.wait() == 0
    wait_gone(answer["pid"])
    assert list((tmp_path / "data" / "run").iterdir()) == []


def test_what_a_worker_prints_does_not_reach_standard_output(start: Start) -> None:
    running = start().wait_ready()
    running.send(signal.SIGTERM)
    assert running.wait() == 0
    assert running.process.stdout is not None
    assert running.process.stdout.read() == ""
    assert "printed by worker\n" in running.lines


def test_ctrl_c_lets_requests_finish(start: Start) -> None:
    running = start().wait_ready()
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(running.ask("/slow")))
    asking.start()
    running.wait_log("slow request")
    # As a terminal does: to the whole foreground process group.
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.wait() == 0
    asking.join(30)
    assert len(answers) == 1


def test_a_second_ctrl_c_stops_at_once(start: Start) -> None:
    running = start().wait_ready()
    pid = running.ask("/stubborn")["pid"]
    running.send(signal.SIGINT)
    running.wait_log('"message":"stopping"')
    running.send(signal.SIGINT)
    assert running.wait() == 130
    wait_gone(pid)


def test_what_does_not_end_in_time_is_killed(start: Start) -> None:
    running = start(config=CONFIG.replace("drain: 10", "drain: 0.1"), env={"TEST_MARGIN": "0.1"}).wait_ready()
    pid = running.ask("/stubborn")["pid"]
    running.send(signal.SIGTERM)
    assert running.wait() == 5
    wait_gone(pid)


def test_a_dead_worker_is_replaced(start: Start) -> None:
    running = start().wait_ready()
    first = running.ask()["pid"]
    with pytest.raises(OSError):
        running.ask("/crash")
    running.wait_log("worker 0 exited with code 9; it is started again in 0.25 s")
    # The socket is the supervisor's: a connection made meanwhile waits for the new worker.
    assert running.ask()["pid"] not in (first, running.process.pid)
    os.kill(running.ask()["pid"], signal.SIGKILL)
    running.wait_log("worker 0 was killed by SIGKILL; it is started again in 0.50 s")
    assert running.ask()["models"] == ["first"]


def test_several_workers_share_the_socket(start: Start) -> None:
    running = start(config=CONFIG.replace("port: 0", "port: 0, workers: 3")).wait_ready()
    running.wait_log("sidecar: started")
    workers = {pid for pid, line in running.children().items() if "standin_sidecar" not in line}
    assert len(workers) == 3
    assert running.ask()["pid"] in workers
    running.send(signal.SIGTERM)
    assert running.wait() == 0
    for pid in workers:
        wait_gone(pid)


def test_sighup_reloads(start: Start, tmp_path: Path) -> None:
    running = start().wait_ready()
    before = running.ask()
    running.configure(OTHER)
    running.send(signal.SIGHUP)
    running.wait_log("the configuration was reloaded")
    after = running.ask()
    assert after["pid"] == before["pid"]
    assert after["models"] == ["second"]


def test_a_changed_file_reloads_and_a_faulty_one_does_not(start: Start, tmp_path: Path) -> None:
    running = start().wait_ready()
    running.configure("models: [{nam: x}]\nmaster_key: hush-hush-hush\nserver: {port: hush}")
    place = running.wait_log("the old one stays")
    line = json.loads(running.lines[place - 1])
    assert any("gateway.yaml:1:11: models[0].nam: unknown key" in fault for fault in line["faults"])
    assert "hush" not in running.lines[place - 1]
    assert running.ask()["models"] == ["first"]
    running.configure(OTHER)
    running.wait_log("the configuration was reloaded", place)
    assert running.ask()["models"] == ["second"]


def test_a_changed_plugin_file_is_read_again(start: Start, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    text = "from gateway.plugin.api import Plugin\nclass Mine(Plugin):\n    name = 'mine'\n"
    plugin.write_text(text)
    running = start(config=CONFIG + "plugins: [{name: mine, path: mine.py}]\n").wait_ready()
    plugin.write_text("from gateway.plugin.api import Nothing\n")
    place = running.wait_log("the new configuration is faulty")
    assert "ImportError" in running.lines[place - 1]
    plugin.write_text(text + "    more = 1\n")
    running.wait_log("the configuration was reloaded", place)


def test_a_changed_plans_file_reloads(start: Start, tmp_path: Path) -> None:
    (tmp_path / "plans.yaml").write_text("- {name: a}")
    running = start(config=CONFIG + "plans: plans.yaml").wait_ready()
    (tmp_path / "plans.yaml").write_text("- {name: a}\n- {name: b}")
    running.wait_log("the configuration was reloaded")


def test_a_worker_started_later_gets_the_new_settings(start: Start, tmp_path: Path) -> None:
    running = start().wait_ready()
    running.configure(OTHER)
    running.send(signal.SIGHUP)
    running.wait_log("the configuration was reloaded")
    os.kill(running.ask()["pid"], signal.SIGKILL)
    running.wait_log("it is started again")
    assert running.ask()["models"] == ["second"]


def test_changes_that_need_a_restart_are_told(start: Start, tmp_path: Path) -> None:
    running = start().wait_ready()
    running.configure(CONFIG.replace("port: 0", "port: 1, workers: 2, host: localhost"))
    running.send(signal.SIGHUP)
    running.wait_log("the configuration was reloaded")
    text = "".join(running.lines)
    for name in ("server.host", "server.port", "server.workers"):
        assert f"{name} has changed; that takes effect at the next start" in text
    assert "data_dir has changed" not in text


def test_a_worker_that_cannot_start_ends_everything(start: Start) -> None:
    running = start(env={"STANDIN_FAILS": "1"})
    assert running.wait() == 4
    running.wait_log("worker 0 exited with code 3 before it was ready")
    assert running.process.stdout is not None
    assert running.process.stdout.read() == ""


def test_no_child_outlives_a_killed_supervisor(start: Start) -> None:
    running = start(config=LOCAL.replace("port: 0", "port: 0, workers: 2")).wait_ready()
    running.wait_log("sidecar: started")
    children = set(running.children())
    assert len(children) == 4
    running.send(signal.SIGKILL)
    running.process.wait()
    for pid in children:
        wait_gone(pid)


def test_a_taken_port_is_told_before_anything_starts(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        running = start(config=CONFIG.replace("port: 0", f"port: {port}"))
        assert running.wait() == 3
    text = "".join(running.lines)
    assert f"cannot listen on 127.0.0.1:{port}: the port is taken" in text
    assert "server.port" in text
    assert "Traceback" not in text
    assert not (tmp_path / "data").exists()


def test_a_faulty_file_starts_nothing(start: Start, tmp_path: Path) -> None:
    running = start(config="server: {prt: 1}\nprovidrs: []\n")
    assert running.wait() == 1
    text = "".join(running.lines)
    assert 'gateway.yaml:1:10: server.prt: unknown key (did you mean "port"?)' in text
    assert 'gateway.yaml:2:1: providrs: unknown key (did you mean "providers"?)' in text
    assert "2 faults; nothing was done" in text
    assert not (tmp_path / "data").exists()


def test_a_data_dir_that_cannot_be_made_is_told(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    running = start(config=CONFIG + "data_dir: file/data\n")
    assert running.wait() == 3
    assert "Set data_dir to a directory that can be written" in "".join(running.lines)


def test_the_banner_works_as_pasted_and_shows_the_key_once(start: Start, tmp_path: Path) -> None:
    seen: list[str] = []
    for _ in range(2):
        running = start("serve")
        assert running.process.stdout is not None
        text = ""
        while '\'{"model"' not in text:
            line = running.process.stdout.readline()
            assert line, "".join(running.lines)
            text += line
        running.send(signal.SIGTERM)
        assert running.wait() == 0
        seen.append(text)
    key = (tmp_path / "data" / "master_key").read_text().strip()
    assert key in seen[0]
    assert key not in seen[1]
    for text in seen:
        command = text[text.index("\ncurl ") :]
        script = f"curl() {{ for item; do printf '%s\\n' \"$item\"; done; }}\n{command}"
        done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        arguments = done.stdout.splitlines()
        assert arguments[0].startswith("http://127.0.0.1:")
        assert arguments[0].endswith("/v1/chat/completions")
        assert f"Authorization: Bearer {key}" in arguments
        assert json.loads(arguments[-1])["model"] == "first"


def test_a_closed_standard_output_does_not_matter(start: Start) -> None:
    running = start("serve")
    assert running.process.stdout is not None
    running.process.stdout.close()
    running.process.stdout = None
    running.wait_log("printed by worker")
    running.send(signal.SIGTERM)
    assert running.wait() == 0


def test_the_engine_runs_where_a_provider_needs_it(start: Start, tmp_path: Path) -> None:
    running = start(config=LOCAL).wait_ready()
    running.wait_log("sidecar: started")
    (engine,) = [pid for pid, line in running.children().items() if "gateway.local" in line]
    line = running.children()[engine]
    assert running.ask()["local_socket"] in line
    assert str(tmp_path / "gateway.yaml") in line
    os.kill(engine, signal.SIGKILL)
    place = running.wait_log("local engine was killed by SIGKILL; it is started again")
    running.configure(CONFIG)
    running.send(signal.SIGHUP)
    place = running.wait_log("the configuration was reloaded", place)
    for pid, command in running.children().items():
        if "gateway.local" in command:
            wait_gone(pid)
    running.configure(LOCAL)
    running.send(signal.SIGHUP)
    running.wait_log("the configuration was reloaded", place)
    # The worker, the sidecar and the engine, which may not run its program yet. The file is also looked at by itself:
    # what was told may have been the change before.
    until(lambda: len(running.children()) == 3)
    running.send(signal.SIGTERM)
    assert running.wait() == 0


def test_without_a_file_the_embedded_defaults_are_told(start: Start) -> None:
    with contextlib.ExitStack() as stack:
        # The port of the defaults is made sure to be taken: by us, or by whoever has it.
        with contextlib.suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", 8080)))
        running = start("serve", config=None)
        assert running.wait() == 3
    assert "There is no gateway.yaml here" in "".join(running.lines)
