"""The engine of local models, as a process: clients that leave, its queue, its memory, and how it ends."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from gateway.local.__main__ import main
from gateway.local.catalog import locate
from tests.support.local_engine import MODEL, RunningEngine, running_engine

LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell a very long story."}],
    "logit_bias": {"2": -100, "0": -100, "4": -100},  # the model's end marks
    "max_tokens": 900,
}


def idle(health: dict[str, Any]) -> bool:
    return not health["queue"]["running"] and not health["queue"]["waiting"]


def running(health: dict[str, Any]) -> bool:
    return bool(health["queue"]["running"])


def test_a_client_that_leaves_frees_the_model(engine: RunningEngine) -> None:
    connection = engine.raw({**LONG, "stream": True})
    assert connection.recv(64).startswith(b"HTTP/1.1 200")
    engine.until(running, "running")
    connection.close()
    engine.until(idle, "idle")
    assert engine.chat(max_tokens=1).status_code == 200


def test_a_client_that_leaves_before_the_answer_frees_the_model(engine: RunningEngine) -> None:
    connection = engine.raw(LONG)
    engine.until(running, "running")
    connection.close()
    engine.until(idle, "idle")


def test_a_waiting_client_that_leaves_gives_up_its_place(engine: RunningEngine) -> None:
    first = engine.raw(LONG)
    engine.until(running, "running")
    second = engine.raw(LONG)
    engine.until(lambda health: health["queue"]["waiting"] == 1, "waiting")
    second.close()
    engine.until(lambda health: health["queue"]["waiting"] == 0, "given up")
    assert running(engine.health())
    first.close()
    engine.until(idle, "idle")


def test_a_full_queue_says_when_to_come_back(tmp_path: Path) -> None:
    with running_engine(tmp_path, queue=2) as engine:
        held = [engine.raw(LONG)]
        engine.until(running, "running")
        held += [engine.raw(LONG), engine.raw(LONG)]
        engine.until(lambda health: health["queue"]["waiting"] == 2, "full")
        refused = engine.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "local_queue_full")
        assert int(refused.headers["retry-after"]) > 0
        for connection in held:
            connection.close()
        engine.until(idle, "idle")


def test_tokens_are_counted_while_an_answer_is_written(engine: RunningEngine) -> None:
    assert engine.chat(max_tokens=1).status_code == 200
    _count_beside_an_answer(engine)


def test_tokens_are_counted_beside_the_answer_that_the_model_is_loaded_for(tmp_path: Path) -> None:
    with running_engine(tmp_path) as engine:
        _count_beside_an_answer(engine)


def _count_beside_an_answer(engine: RunningEngine) -> None:
    connection = engine.raw(LONG)
    engine.until(running, "running")
    assert engine.http.post("/tokenize", json={"model": MODEL, "content": "Hello"}).json()["count"] == 1
    assert running(engine.health())
    connection.close()
    engine.until(idle, "idle")


def test_tokens_are_counted_of_a_model_that_nobody_else_wants(tmp_path: Path) -> None:
    with running_engine(tmp_path) as engine:
        for _ in range(2):
            assert engine.http.post("/tokenize", json={"model": MODEL, "content": "Hello"}).json()["count"] == 1
        engine.until(idle, "idle")


def states(health: dict[str, Any]) -> dict[str, str]:
    return {model["id"]: model["state"] for model in health["models"]}


def test_models_come_and_go_with_the_memory_budget(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.symlink_to(locate(MODEL))
    with running_engine(tmp_path, [MODEL, str(other)], memory_budget=250_000_000) as engine:
        assert states(engine.health()) == {MODEL: "unloaded", "other": "unloaded"}
        assert engine.chat(max_tokens=1).status_code == 200
        assert states(engine.health()) == {MODEL: "ready", "other": "unloaded"}
        assert engine.chat(model="other", max_tokens=1).status_code == 200
        assert states(engine.health()) == {MODEL: "unloaded", "other": "ready"}
        assert [model["id"] for model in engine.http.get("/v1/models").json()["data"]] == [MODEL, "other"]


def test_a_model_over_the_budget_is_told(tmp_path: Path) -> None:
    with running_engine(tmp_path, memory_budget=120_000_000) as engine:
        refused = engine.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "local_model_over_budget")
        assert "120 MB" in refused.json()["error"]["message"]


def test_an_idle_model_is_unloaded(tmp_path: Path) -> None:
    with running_engine(tmp_path, idle_unload=0.2) as engine:
        assert engine.chat(max_tokens=1).status_code == 200
        engine.until(lambda health: states(health)[MODEL] == "unloaded", "unloaded")
        assert engine.chat(max_tokens=1).status_code == 200


def test_reloading_cuts_no_stream(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.symlink_to(locate(MODEL))
    with running_engine(tmp_path) as engine:
        events: list[Any] = []
        thread = threading.Thread(target=lambda: events.extend(engine.events(**{**LONG, "max_tokens": 100})))
        thread.start()
        engine.until(running, "running")
        engine.write({"threads": 1, "context_length": 1024}, ["other.gguf"])
        engine.reload()
        engine.until(lambda health: "other" in states(health), "reloaded")
        thread.join(120)
        assert events[-1] == "[DONE]"
        assert events[-2]["choices"][0]["finish_reason"] == "length"
        assert engine.chat().json()["error"]["code"] == "model_not_found"
        assert engine.chat(model="other", max_tokens=1).status_code == 200
        engine.config_path.write_text("providers: 7\n")
        engine.reload()
        assert engine.chat(model="other", max_tokens=1).status_code == 200
        engine.until(lambda _health: "not reloaded" in engine.log_path.read_text(), "refused")


def test_stopping_finishes_what_runs(tmp_path: Path) -> None:
    with running_engine(tmp_path) as engine:
        connection = engine.raw({**LONG, "max_tokens": 30})
        engine.until(running, "running")
        assert engine.stop() == 0
        received = b""
        with connection:
            while data := connection.recv(65536):
                received += data
        assert received.startswith(b"HTTP/1.1 200")
        assert b'"finish_reason":"length"' in received
        assert not engine.socket_path.exists()


def test_nothing_is_printed_but_our_own_lines(engine: RunningEngine) -> None:
    assert engine.chat(max_tokens=1).status_code == 200
    lines = engine.log_path.read_text().splitlines()
    assert {json.loads(line)["logger"] for line in lines} == {"gateway.local"}
    assert {json.loads(line)["level"] for line in lines} == {"info"}


def test_the_socket_is_private_and_not_shared(engine: RunningEngine, tmp_path: Path) -> None:
    assert engine.socket_path.stat().st_mode & 0o077 == 0
    assert main(["--config", str(engine.config_path), "--socket", str(engine.socket_path)]) == 2
    assert engine.chat(max_tokens=1).status_code == 200
