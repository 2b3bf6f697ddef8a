"""The access log: what a line holds, and that whoever reads it slowly, or not at all, holds up nothing."""

from __future__ import annotations

import asyncio
import json
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from gateway.contract.usage import Tokens
from gateway.dataplane import access_log as module
from gateway.dataplane.access_line import Line
from gateway.dataplane.access_log import AccessLog
from gateway.kernel.errors import GatewayError, Kind
from tests.support.fake_openai import KEY, FakeOpenAI
from tests.support.gateway import running_gateway
from tests.support.usage import START, attempt, usage_event

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Any]:
    with (tmp_path / "log").open("w+b") as opened:
        yield opened


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's read and write ends."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue  # the test closed it


def lines_of(file: Any) -> list[dict[str, Any]]:
    file.seek(0)
    return [json.loads(line) for line in file.read().splitlines()]


def refused(error: GatewayError | None, caller: Any = None) -> Any:
    return SimpleNamespace(
        id="req_2", endpoint="embeddings", started_ns=START, status=401, caller=caller, refusal=error
    )


async def test_a_line_holds_what_is_known(file: Any) -> None:
    log = AccessLog(asyncio.get_running_loop(), True, file.fileno())
    log.access(
        usage_event(
            stream=True,
            tokens=Tokens(prompt=12, completion=34),
            cost_nanos=5_600,
            attempts=[attempt("connect", None), attempt()],
        )
    )
    log.close()
    assert lines_of(file) == [
        {
            "level": "info",
            "logger": "gateway.access",
            "pid": os.getpid(),
            "message": "request",
            "ts": START / 1e9,
            "request_id": "req_1",
            "endpoint": "chat.completions",
            "status": 200,
            "outcome": "ok",
            "duration_ms": 300.0,
            "credential": "demo",
            "organization": "acme",
            "model": "small",
            "target": "fake-chat",
            "provider": "fake",
            "attempts": 2,
            "first_token_ms": 20.0,
            "prompt_tokens": 12,
            "completion_tokens": 34,
            "cost_nanos": 5600,
            "stream": True,
        }
    ]


async def test_a_failure_says_why(file: Any) -> None:
    log = AccessLog(asyncio.get_running_loop(), True, file.fileno())
    log.access(usage_event(attempts=[attempt("stall_timeout", 200)], outcome="cut"))
    log.access(usage_event(attempts=[], outcome="cancelled", provider=None, target=None, first_token_ns=None))
    log.refused(refused(GatewayError(Kind.UNAUTHENTICATED, "invalid_api_key", "Wrong: gw_live_secret")), 0.0015)
    log.refused(refused(GatewayError(Kind.INVALID, "x" * 5000, "no"), SimpleNamespace(name="k", organization="o")), 1)
    log.refused(refused(None), 0.1)
    log.close()
    cut, left, unknown, odd, gone = lines_of(file)
    assert cut["error"] == "stall_timeout"
    assert "error" not in left
    assert "provider" not in left
    assert unknown["outcome"] == "refused"
    assert unknown["error"] == "invalid_api_key"
    assert unknown["duration_ms"] == 1.5
    assert "credential" not in unknown
    assert odd["credential"] == "k"
    assert odd["organization"] == "o"
    assert odd["error"] == "x" * 100
    assert "error" not in gone
    file.seek(0)
    assert b"secret" not in file.read()


async def test_every_field_is_documented(file: Any) -> None:
    page = (ROOT / "docs" / "observability.md").read_text().split("## Access log")[1].split("## Other logs")[0]
    for name in (*Line.__struct_fields__, "level", "logger", "pid", "message", "count"):
        assert f"`{name}`" in page


async def test_nothing_is_written_when_it_is_off(file: Any) -> None:
    log = AccessLog(asyncio.get_running_loop(), False, file.fileno())
    log.access(usage_event())
    log.refused(refused(None), 0.1)
    log.close()
    assert lines_of(file) == []


async def test_lines_gather_and_are_written_by_a_thread(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH", 0.01)
    writers: list[int] = []
    write = module._Writer.write

    def spied(self: module._Writer, data: bytearray) -> int:
        writers.append(threading.get_ident())
        return write(self, data)

    monkeypatch.setattr(module._Writer, "write", spied)
    log = AccessLog(asyncio.get_running_loop(), True, file.fileno())
    for _ in range(3):
        log.access(usage_event())
    assert lines_of(file) == []
    async with asyncio.timeout(30):
        while len(lines_of(file)) < 3:  # noqa: ASYNC110 - a file tells nobody that it was written
            await asyncio.sleep(0.005)
    assert writers
    assert threading.get_ident() not in writers
    assert log.buffered == 0
    log.close()


async def test_what_does_not_fit_is_counted_and_told(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 2_000)
    log = AccessLog(asyncio.get_running_loop(), True, file.fileno())
    for _ in range(100):
        log.access(usage_event())
    assert 2_000 < log.buffered < 3_000
    log.close()
    *written, last = lines_of(file)
    assert log.dropped == 100 - len(written) > 80
    assert last["count"] == log.dropped
    assert last["message"] == "access log lines dropped"
    assert last["level"] == "warning"
    assert set(last) == {"level", "logger", "pid", "message", "ts", "count"}


async def test_lines_go_into_a_pipe_whole(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[bytes] = []
    write = os.write

    def spied(fd: int, data: Any) -> int:
        pieces.append(bytes(data))
        return write(fd, data)

    log = AccessLog(asyncio.get_running_loop(), True, pipe[1])
    for number in range(40):
        log.access(usage_event(id=f"req_{number}"))
    monkeypatch.setattr(os, "write", spied)
    log.close()
    assert len(pieces) > 1
    assert all(len(piece) <= select.PIPE_BUF and piece.endswith(b"}\n") for piece in pieces)
    ids = [json.loads(line)["request_id"] for piece in pieces for line in piece.splitlines()]
    assert ids == [f"req_{number}" for number in range(40)]
    assert log.dropped == 0


async def test_a_pipe_nobody_reads_holds_up_neither_requests_nor_the_end(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH", 0.001)
    monkeypatch.setattr(module, "LAST", 0.05)
    monkeypatch.setattr(module, "_WAIT", 10)
    log = AccessLog(asyncio.get_running_loop(), True, pipe[1])
    for _ in range(1000):
        log.access(usage_event())
    while log._writing is None:  # noqa: ASYNC110 - a timer of the log's own
        await asyncio.sleep(0)
    for _ in range(1000):
        log.access(usage_event())
    log.close()
    # The thread that was writing gives up too, or the event loop could not be closed.
    while log._writing is not None:  # noqa: ASYNC110 - its callback
        await asyncio.sleep(0)
    read = 0
    os.set_blocking(pipe[0], False)
    try:
        while data := os.read(pipe[0], 65_536):
            read += data.count(b"\n")
    except BlockingIOError:
        pass
    assert 0 < read < 2000
    assert log.dropped == 2000 - read


async def test_a_reader_that_went_away_costs_lines_only(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    log = AccessLog(asyncio.get_running_loop(), True, pipe[1])
    log.access(usage_event())
    log.close()
    assert log.dropped == 1


async def test_a_descriptor_that_is_none_costs_lines_only() -> None:
    log = AccessLog(asyncio.get_running_loop(), True, -1)
    log.access(usage_event())
    log.close()
    assert log.dropped == 1


def test_no_body_and_no_key_ever_appears(tmp_path: Path) -> None:
    key, wrong, master = "gw_live_KEYTEXT0123456789", "gw_live_WRONGTEXT0123456789", "MASTERTEXT0123456789"
    said = "PROMPTTEXT"
    with FakeOpenAI() as fake:
        names = ("fake-chat", "fake-embed", "error-400", "error-503", "cut", "error-html")
        config = {
            "server": {"port": 0, "drain": 5.0},
            "data_dir": "data",
            "master_key": master,
            "providers": [{"name": "fake", "base_url": fake.base_url, "api_key": KEY, "retry": {"attempts": 1}}],
            "models": [{"name": name, "targets": [{"provider": "fake", "model": name}]} for name in names],
            "keys": [{"key": key, "name": "watched", "organization": "acme"}],
        }
        with running_gateway(config, tmp_path, command="proxy") as gateway:
            url = gateway.base_url + "/chat/completions"
            body = {"messages": [{"role": "user", "content": said}], "user": said, "metadata": {"m": said}}
            answers = [
                httpx.post(
                    url, json={**body, "model": model, "stream": stream}, headers={"authorization": f"Bearer {k}"}
                )
                for model in (*names, said)
                for stream in (False, True)
                for k in (key, wrong, master)
            ]
            answers.append(httpx.post(url, content=b'{"model": "' + said.encode(), headers={"x-api-key": key}))
            embed = gateway.base_url + "/embeddings"
            answers.append(httpx.post(embed, json={"model": "fake-embed", "input": said}, headers={"api-key": key}))
            answers.append(httpx.post(url + f"?key={key}", json={**body, "model": "fake-chat"}))
        logged = gateway.log()
    lines = [json.loads(line) for line in logged.splitlines() if '"gateway.access"' in line]
    assert len(lines) == len(answers)
    assert {line["outcome"] for line in lines} >= {"ok", "error", "refused", "cut"}
    assert {line.get("credential") for line in lines} >= {"watched", None}
    for secret in (key, wrong, master, KEY, said):
        assert secret not in logged
