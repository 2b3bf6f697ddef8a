"""The engine's HTTP surface where llama.cpp is not there, or not yet."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.kernel.errors import GatewayError, Kind
from gateway.local.app import Application
from gateway.local.binding import Binding
from gateway.local.engine import Engine
from gateway.local.http import Exchange
from gateway.local.specs import engine_settings
from gateway.settings.model import LlamaCpp, Provider, Settings

MODEL = "smollm2-135m-instruct"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}


@pytest.fixture
def status_path(tmp_path: Path) -> Path:
    return tmp_path / "local-install.json"


@pytest.fixture
async def client(status_path: Path, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    provider = Provider(name="local", kind="llama_cpp", model=MODEL, llama_cpp=LlamaCpp(context_length=256, threads=1))
    settings = Settings(providers=(provider,))
    engine = Engine(engine_settings(settings, tmp_path), Binding(status_path))
    engine.start()
    transport = httpx.ASGITransport(Application(engine))
    async with httpx.AsyncClient(transport=transport, base_url="http://local", timeout=60) as client:
        yield client
    engine.close(5)


def installing(path: Path) -> None:
    fields = {"state": "building", "message": "compiling llama.cpp", "done": 3, "total": 83, "pid": os.getpid()}
    path.write_text(json.dumps(fields))


def installed(path: Path) -> None:
    path.write_text(json.dumps({"state": "ready", "message": "ready"}))


@pytest.mark.parametrize("stream", [False, True])
async def test_the_engine_is_taken_up_when_its_installation_ends(
    client: httpx.AsyncClient, status_path: Path, stream: bool
) -> None:
    installing(status_path)
    waiting = await client.post("/v1/chat/completions", json={**CHAT, "stream": stream})
    error = waiting.json()["error"]
    assert (waiting.status_code, error["code"], error["type"]) == (503, "local_model_unavailable", "server_error")
    assert "3 of 83 files" in error["message"]
    assert waiting.headers["retry-after"] == "10"
    health = (await client.get("/health")).json()
    assert (health["status"], health["engine"]["installed"]) == ("unavailable", False)
    assert "3 of 83 files" in health["engine"]["message"]

    installed(status_path)
    assert (await client.post("/v1/chat/completions", json={**CHAT, "stream": stream})).status_code == 200
    health = (await client.get("/health")).json()
    assert (health["status"], health["engine"]["installed"]) == ("ok", True)
    assert health["engine"]["version"]
    assert health["models"] == [{"id": MODEL, "state": "ready"}]


async def test_openais_paths_are_answered_with_and_without_their_prefix(client: httpx.AsyncClient) -> None:
    with_prefix, without = await client.get("/v1/models"), await client.get("/models")
    assert with_prefix.json() == without.json()
    assert with_prefix.json()["data"][0]["id"] == MODEL


async def test_a_body_over_the_limit_is_refused() -> None:
    parts = iter([{"type": "http.request", "body": b"x" * 10, "more_body": True} for _ in range(3)])

    async def receive() -> Any:
        return next(parts)

    async def send(_message: Any) -> None:
        raise AssertionError("nothing is sent")

    with pytest.raises(GatewayError, match="at most 25 bytes"):
        await Exchange({"headers": []}, receive, send).body(25)


async def test_a_failure_in_a_stream_is_an_event() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    exchange = Exchange({"headers": []}, receive, send)
    await exchange.event({"a": 1})
    await exchange.error(GatewayError(Kind.INTERNAL, "broken", "It broke."))
    assert sent[0]["status"] == 200
    assert json.loads(sent[2]["body"][6:])["error"]["code"] == "broken"
    assert not sent[3].get("more_body")
