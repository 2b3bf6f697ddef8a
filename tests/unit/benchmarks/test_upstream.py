from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from benchmarks import answers, payloads
from benchmarks.upstream import Stats, Upstream


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    loop, stats = asyncio.get_running_loop(), Stats()
    server = await loop.create_server(lambda: Upstream(loop, stats), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, httpx.AsyncClient(base_url=url) as client:
        yield client


async def events(http: httpx.AsyncClient, body: dict[str, Any]) -> list[str]:
    reply = await http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200
    return [event.removeprefix("data: ") for event in reply.text.split("\n\n") if event]


async def test_it_answers_on_one_connection_in_turn(http: httpx.AsyncClient) -> None:
    for body in (payloads.chat(), payloads.large()):
        reply = await http.post("/v1/chat/completions", content=body)
        assert reply.json()["choices"][0]["message"]["content"] == answers.TEXT
    vector = (await http.post("/v1/embeddings", json={"model": "e", "input": "x"})).json()
    assert len(vector["data"][0]["embedding"]) == 64
    assert (await http.get("/stats")).json() == {"completed": 0, "open": 0, "requests": 3, "streams": 0}
    assert (await http.post("/v1/nothing", content=b"{}")).status_code == 404


async def test_a_stream_has_its_events_and_usage_only_when_asked(http: httpx.AsyncClient) -> None:
    body = json.loads(payloads.chat(stream=True))
    plain = await events(http, body)
    assert len(plain) == answers.EVENTS + 1
    assert plain[-1] == "[DONE]"
    counted = await events(http, {**body, "stream_options": {"include_usage": True}})
    assert len(counted) == answers.EVENTS + 2
    assert json.loads(counted[-2])["usage"] == answers.USAGE
    assert (await http.get("/stats")).json()["completed"] == 2


async def test_a_slow_stream_stamps_each_event(http: httpx.AsyncClient) -> None:
    *stamped, end = await events(http, {"model": payloads.slow(3, 1), "stream": True})
    sent = [json.loads(event)["sent_ns"] for event in stamped]
    assert len(sent) == 3
    assert sent == sorted(sent)
    assert end == "[DONE]"
