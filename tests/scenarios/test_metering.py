"""Processes die at random while requests run; afterwards each answered request is in the ledger once, as answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from click.testing import CliRunner
from msgspec import Struct

from gateway.cli.main import cli
from tests.support.fake_openai.server import KEY, FakeOpenAI
from tests.support.gateway import RunningGateway, children_of, running_gateway
from tests.support.sidecar import MASTER

SECONDS = 15.0
CALLERS = 8
SEED = 20
STATIC = "gw_live_static_key"
INPUT, OUTPUT = 2_000, 8_000  # nano-dollars a token, as configured below


class Answer(Struct):
    """What a client was told: its request's id, and the provider's own count of tokens."""

    id: str
    status: int
    prompt: int = 0
    completion: int = 0


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


@pytest.fixture
def gateway(fake: FakeOpenAI, tmp_path: Path) -> Iterator[RunningGateway]:
    config: dict[str, Any] = {
        "server": {"port": 0, "workers": 2, "drain": 5.0},
        "master_key": MASTER,
        "data_dir": "data",
        "providers": [{"name": "fake", "base_url": fake.base_url, "api_key": KEY}],
        "models": [
            {"name": "good", "targets": [{"provider": "fake", "model": "fake-chat"}]},
            {"name": "bad", "targets": [{"provider": "fake", "model": "error-400"}]},
        ],
        "pricing": [{"provider": "fake", "model": "fake-chat", "input_per_1k": 0.002, "output_per_1k": 0.008}],
        "keys": [{"key": STATIC, "name": "static"}],
    }
    with running_gateway(config, tmp_path) as running:
        yield running


def is_sidecar(pid: int) -> bool:
    """Whether it is the sidecar's process rather than a worker's."""
    try:
        return b"gateway.sidecar" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


class Traffic:
    """Callers that ask all the time: plain, streamed, left in mid-stream, refused by the provider."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.answers: list[Answer] = []
        self.left: list[str] = []
        self.killed = {True: 0, False: 0}
        """How often the sidecar died, and a worker."""
        self.until = time.monotonic() + SECONDS
        self._random = random.Random(SEED)

    async def run(self) -> None:
        """Ask until the time is over."""
        headers = {"authorization": f"Bearer {STATIC}"}
        async with httpx.AsyncClient(base_url=self.gateway.root, timeout=10, headers=headers) as client:
            killing = (self._kill_on(False, 0.4, 1.2), self._kill_on(True, 2.5, 5.0))
            await asyncio.gather(*(self._ask_on(client) for _ in range(CALLERS)), *killing)

    async def _ask_on(self, client: httpx.AsyncClient) -> None:
        ways = (self._plain, self._plain, self._streamed, self._left, self._refused)
        while time.monotonic() < self.until:
            # Who is killed answers nobody: that is what this is about.
            with contextlib.suppress(httpx.TransportError):
                await self._random.choice(ways)(client)

    async def _kill_on(self, sidecar: bool, least: float, most: float) -> None:
        while (pause := self._random.uniform(least, most)) < self.until - time.monotonic() - 1:
            await asyncio.sleep(pause)
            pids = [pid for pid in children_of(self.gateway.pid) if is_sidecar(pid) is sidecar]
            if pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._random.choice(pids), signal.SIGKILL)
                    self.killed[sidecar] += 1

    def _body(self, model: str, **more: Any) -> dict[str, Any]:
        words = " ".join(["word"] * self._random.randrange(1, 40))
        return {"model": model, "messages": [{"role": "user", "content": words}], **more}

    async def _plain(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/chat/completions", json=self._body("good"))
        if answer.status_code == 200:
            self._told(answer, answer.json()["usage"])

    async def _refused(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/chat/completions", json=self._body("bad"))
        if answer.status_code == 400:
            self._told(answer, {"prompt_tokens": 0, "completion_tokens": 0})

    async def _streamed(self, client: httpx.AsyncClient) -> None:
        body = self._body("good", stream=True, stream_options={"include_usage": True})
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            events = [line[6:] async for line in answer.aiter_lines() if line.startswith("data: ")]
        if answer.status_code == 200:
            assert events[-1] == "[DONE]"
            self._told(answer, orjson.loads(events[-2])["usage"])

    async def _left(self, client: httpx.AsyncClient) -> None:
        body = self._body("good", stream=True)
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for _ in answer.aiter_lines():
                self.left.append(answer.headers["x-request-id"])
                break

    def _told(self, answer: httpx.Response, usage: dict[str, int]) -> None:
        id = answer.headers["x-request-id"]
        told = Answer(id, answer.status_code, usage["prompt_tokens"], usage["completion_tokens"])
        self.answers.append(told)


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        return connection.execute(query).fetchall()


def count(database: Path) -> int:
    """The entries so far; none before the sidecar has made the tables."""
    try:
        return int(rows(database, "SELECT count(*) FROM ledger_entries")[0][0])
    except sqlite3.OperationalError:
        return 0


def written(folder: Path) -> Counter[str]:
    """The ids in the workers' files."""
    lines = [line for path in folder.glob("usage-*.jsonl") for line in path.read_bytes().splitlines() if line]
    return Counter(orjson.loads(line)["id"] for line in lines)


async def test_each_answered_request_is_in_the_ledger_once(
    gateway: RunningGateway, fake: FakeOpenAI, tmp_path: Path
) -> None:
    database = tmp_path / "data" / "gateway.db"
    traffic = Traffic(gateway)
    await traffic.run()
    assert len(traffic.answers) > 100, gateway.log()
    assert traffic.killed[True] >= 2
    assert traffic.killed[False] >= 5
    everything = written(tmp_path / "data" / "usage")
    deadline = time.monotonic() + 30
    while (entered := count(database)) < len(everything):
        assert time.monotonic() < deadline, f"{entered} of {len(everything)} entered:\n{gateway.log()}"
        await asyncio.sleep(0.1)

    fields = "id, prompt_tokens, completion_tokens, cost_nanos, status, estimated"
    ledger = {row[0]: row for row in rows(database, f"SELECT {fields} FROM ledger_entries")}
    ids = Counter(answer.id for answer in traffic.answers)
    assert set(ids.values()) == {1}
    assert set(ids) - set(ledger) == set()
    assert set(ledger) == set(everything)
    assert set(everything.values()) == {1}
    for answer in traffic.answers:
        cost = answer.prompt * INPUT + answer.completion * OUTPUT
        assert ledger[answer.id][1:] == (answer.prompt, answer.completion, cost, answer.status, False)
    assert len(ledger) <= len(fake.recording.requests)

    told = "sum(requests), sum(prompt_tokens), sum(completion_tokens), sum(cost_nanos)"
    totals = rows(database, f"SELECT {told} FROM ledger_entries")
    assert rows(database, f"SELECT {told} FROM usage_hours") == totals
    assert rows(database, f"SELECT {told} FROM usage_days") == totals
    assert rows(database, "SELECT count(*) FROM poison_entries") == [(0,)]
    command = ["usage", "verify", "--config", str(gateway.config_path)]
    verified = await asyncio.to_thread(CliRunner().invoke, cli, command)
    assert verified.exit_code == 0, verified.output
