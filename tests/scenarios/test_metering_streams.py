"""Data planes without a sidecar beside them, and two sidecars elsewhere, over Redis and PostgreSQL: each answered
request is in the ledger once, as answered, whatever is killed or lost meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
import yaml
from click.testing import CliRunner
from msgspec import Struct
from redis import Redis

from gateway.bus.usage import GROUP, STREAM
from gateway.cli.main import cli
from tests.support.fake_openai.server import KEY, FakeOpenAI
from tests.support.gateway import RunningGateway, children_of, holds_open, running_gateway
from tests.support.postgres import PostgresServer
from tests.support.redis_server import RedisServer, running_redis
from tests.support.sidecar import MASTER, RunningSidecar, running_sidecar

STATIC = "gw_live_static_key"
INPUT, OUTPUT = 2_000, 8_000  # nano-dollars a token, as configured below
CALLERS = 6


class Answer(Struct):
    """What a client was told: its request's id, and the provider's own count of tokens."""

    id: str
    prompt: int
    completion: int


class Deployment(Struct):
    """Two data planes, two sidecars, and what they share. ``asked`` is how many requests were made so far."""

    planes: list[RunningGateway]
    sidecars: list[RunningSidecar]
    redis: RedisServer
    database: str
    asked: int = 0

    def client(self) -> Redis:
        """A client of the Redis."""
        return Redis.from_url(self.redis.url, protocol=2)

    def log(self) -> str:
        """Everybody's."""
        return "\n".join([*(each.log() for each in self.planes), *(each.log() for each in self.sidecars)])


def plane_config(fake: FakeOpenAI, redis: RedisServer) -> dict[str, Any]:
    return {
        "server": {"port": 0, "workers": 2, "drain": 5.0},
        "master_key": MASTER,
        "data_dir": "data",
        "redis_url": redis.url,
        "providers": [{"name": "fake", "base_url": fake.base_url, "api_key": KEY}],
        "models": [{"name": "good", "targets": [{"provider": "fake", "model": "fake-chat"}]}],
        "pricing": [{"provider": "fake", "model": "fake-chat", "input_per_1k": 0.002, "output_per_1k": 0.008}],
        "keys": [{"key": STATIC, "name": "static"}],
    }


@pytest.fixture(scope="module")
def deployment(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    database = postgres.url(asyncio.run(postgres.create()))
    with ExitStack() as stack:
        fake = stack.enter_context(FakeOpenAI())
        redis = stack.enter_context(running_redis())
        config = plane_config(fake, redis)
        of_sidecar = {**config, "database_url": database}
        del of_sidecar["data_dir"]
        sidecars, planes = [], []
        for name in ("first", "second"):
            folder = tmp_path_factory.mktemp(name)
            sidecars.append(stack.enter_context(running_sidecar(of_sidecar, folder)))
        for name in ("east", "west"):
            folder = tmp_path_factory.mktemp(name)
            planes.append(stack.enter_context(running_gateway(config, folder, command="proxy")))
        yield Deployment(planes, sidecars, redis, database)


class Traffic:
    """Callers that ask one plane or the other all the time: plain, streamed, left in mid-stream."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.roots = [plane.root for plane in deployment.planes]
        self.answers: list[Answer] = []
        self.asking = True
        self._random = random.Random(7)

    async def ask_on(self, client: httpx.AsyncClient) -> None:
        while self.asking:
            root = self._random.choice(self.roots)
            self.deployment.asked += 1
            try:
                await self._random.choice((self._plain, self._streamed, self._left))(client, root)
            except Exception as error:
                error.add_note(f"asked of {root}, failed at {time.time()}")
                raise

    def _body(self, **more: Any) -> dict[str, Any]:
        words = " ".join(["word"] * self._random.randrange(1, 40))
        return {"model": "good", "messages": [{"role": "user", "content": words}], **more}

    async def _plain(self, client: httpx.AsyncClient, root: str) -> None:
        answer = await client.post(f"{root}/v1/chat/completions", json=self._body())
        assert answer.status_code == 200, answer.text
        self._told(answer, answer.json()["usage"])

    async def _streamed(self, client: httpx.AsyncClient, root: str) -> None:
        body = self._body(stream=True, stream_options={"include_usage": True})
        async with client.stream("POST", f"{root}/v1/chat/completions", json=body) as answer:
            events = [line[6:] async for line in answer.aiter_lines() if line.startswith("data: ")]
        assert events[-1] == "[DONE]"
        self._told(answer, orjson.loads(events[-2])["usage"])

    async def _left(self, client: httpx.AsyncClient, root: str) -> None:
        async with client.stream("POST", f"{root}/v1/chat/completions", json=self._body(stream=True)) as answer:
            async for _ in answer.aiter_lines():
                break

    def _told(self, answer: httpx.Response, usage: dict[str, int]) -> None:
        self.answers.append(Answer(answer.headers["x-request-id"], usage["prompt_tokens"], usage["completion_tokens"]))


@asynccontextmanager
async def traffic_of(deployment: Deployment) -> AsyncIterator[Traffic]:
    """Traffic for the time of the block."""
    traffic = Traffic(deployment)
    headers = {"authorization": f"Bearer {STATIC}"}
    async with httpx.AsyncClient(timeout=60, headers=headers) as client:
        asking = [asyncio.create_task(traffic.ask_on(client)) for _ in range(CALLERS)]
        try:
            yield traffic
        finally:
            traffic.asking = False
            try:
                await asyncio.gather(*asking)
            except Exception as error:
                error.add_note(deployment.log())
                raise


async def more(traffic: Traffic, answers: int = 60) -> None:
    """Until so many more were answered."""
    wanted = len(traffic.answers) + answers
    async with asyncio.timeout(60):
        while True:
            if len(traffic.answers) >= wanted:
                return
            await asyncio.sleep(0.01)


def written(deployment: Deployment) -> Counter[str]:
    """The ids in the workers' files."""
    folders = [plane.config_path.parent / "data" / "usage" for plane in deployment.planes]
    # What is not followed by an end of line is being written just now.
    texts = [path.read_bytes().rpartition(b"\n")[0] for folder in folders for path in folder.glob("usage-*.jsonl")]
    return Counter(orjson.loads(line)["id"] for text in texts for line in text.splitlines())


async def rows(deployment: Deployment, query: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(deployment.database)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def count(deployment: Deployment) -> int:
    return int((await rows(deployment, "SELECT count(*) FROM ledger_entries"))[0][0])


async def verified(deployment: Deployment, traffic: Traffic) -> None:
    """Wait until every request is written and entered, then compare with what clients were told."""
    deadline = time.monotonic() + 60
    # An event may be in a journal still, and that of a request which was left comes a moment after its caller went.
    while True:
        everything, entered = written(deployment), await count(deployment)
        if everything.total() == entered == deployment.asked:
            break
        found = f"{deployment.asked} were asked, {everything.total()} are written, {entered} entered"
        assert time.monotonic() < deadline, f"{found}:\n{deployment.log()}"
        await asyncio.sleep(0.05)
    assert set(everything.values()) == {1}
    fields = "id, prompt_tokens, completion_tokens, cost_nanos, status, estimated"
    ledger = {row[0]: row[1:] for row in await rows(deployment, f"SELECT {fields} FROM ledger_entries")}
    assert set(ledger) == set(everything)
    assert len({answer.id for answer in traffic.answers}) == len(traffic.answers)
    for answer in traffic.answers:
        cost = answer.prompt * INPUT + answer.completion * OUTPUT
        assert ledger[answer.id] == (answer.prompt, answer.completion, cost, 200, False)
    told = "sum(requests), sum(prompt_tokens), sum(completion_tokens), sum(cost_nanos)"
    totals = await rows(deployment, f"SELECT {told} FROM ledger_entries")
    assert await rows(deployment, f"SELECT {told} FROM usage_hours") == totals
    assert await rows(deployment, f"SELECT {told} FROM usage_days") == totals
    assert await rows(deployment, "SELECT count(*) FROM poison_entries") == [(0,)]
    await nothing_is_pending(deployment)
    for plane in deployment.planes:
        await all_is_in_the_ledger(deployment, plane)


async def all_is_in_the_ledger(deployment: Deployment, plane: RunningGateway) -> None:
    """As the command finds it that is told of both: the files of a machine, and the database."""
    folder = plane.config_path.parent
    config = folder / "with-database.yaml"
    given = {**yaml.safe_load(plane.config_path.read_text()), "database_url": deployment.database}
    config.write_text(yaml.safe_dump({**given, "data_dir": str(folder / "data")}))
    ids = [line for path in (folder / "data" / "usage").glob("*.jsonl") for line in path.read_bytes().splitlines()]
    command = ["usage", "verify", "--json", "--config", str(config)]
    deadline = time.monotonic() + 30
    while True:
        result = await asyncio.to_thread(CliRunner().invoke, cli, command)
        assert result.exit_code == 0, result.output
        # How far the ledger is gets to the disk a second later.
        if orjson.loads(result.stdout)["written"] == len(ids):
            return
        kept = (folder / "data" / "usage" / "entered.json").read_text()
        sizes = {path.name: path.stat().st_size for path in (folder / "data" / "usage").glob("*.jsonl")}
        assert time.monotonic() < deadline, f"{len(ids)} ids, entered {kept}, sizes {sizes}: {result.stdout}"


async def nothing_is_pending(deployment: Deployment) -> None:
    """As each machine with workers tells it, without a database; a moment after the ledger has it all."""
    for plane in deployment.planes:
        deadline = time.monotonic() + 30
        command = ["usage", "pending", "--config", str(plane.config_path)]
        with contextlib.chdir(plane.config_path.parent):
            while "pending: 0 events" not in (output := CliRunner().invoke(cli, command).output):
                assert time.monotonic() < deadline, output
                await asyncio.sleep(0.05)


def holds(redis: Redis, pid: int) -> bool:
    """Whether the sidecar with this process id has taken entries that it has not entered."""
    try:
        pending: Any = redis.xpending_range(STREAM, GROUP, "-", "+", 100)
    except Exception:
        return False
    return any(told["consumer"].split(b"-")[-2] == str(pid).encode() for told in pending)


def killed_with_entries(redis: Redis, pid: int) -> bool:
    """Stop a process; kill it if it is in the midst of something, let it go on otherwise."""
    os.kill(pid, signal.SIGSTOP)
    if holds(redis, pid):
        os.kill(pid, signal.SIGKILL)
        return True
    os.kill(pid, signal.SIGCONT)
    return False


def kill_consumer(redis: Redis, pid: int) -> None:
    deadline = time.monotonic() + 60
    while not (holds(redis, pid) and killed_with_entries(redis, pid)):
        assert time.monotonic() < deadline, "the sidecar held nothing"


def drainers(planes: list[RunningGateway]) -> list[int]:
    """The processes that send usage to Redis."""
    return [pid for plane in planes for pid in children_of(plane.pid) if holds_open(pid, "/drain.lock")]


@contextmanager
def restarted(sidecar: RunningSidecar) -> Iterator[None]:
    """Start a sidecar that was killed again, whatever happens meanwhile."""
    try:
        yield
    finally:
        sidecar.http.close()
        sidecar.process.wait(20)
        assert sidecar.process.stdout is not None
        sidecar.process.stdout.close()
        sidecar.start()


async def test_a_consumer_is_killed_with_entries_in_its_hands(deployment: Deployment) -> None:
    victim, _ = deployment.sidecars
    async with traffic_of(deployment) as traffic:
        await more(traffic)
        with deployment.client() as redis, restarted(victim):
            await asyncio.to_thread(kill_consumer, redis, victim.process.pid)
            await more(traffic)
        await more(traffic)
    await verified(deployment, traffic)
    states = [sidecar.http.get("/internal/health").json()["ingestion"] for sidecar in deployment.sidecars]
    assert [state["source"] for state in states] == ["stream", "stream"]
    assert sum(state["claimed"] for state in states) >= 1  # by the other one, or by the next process


async def test_redis_loses_its_memory(deployment: Deployment) -> None:
    async with traffic_of(deployment) as traffic:
        for _ in range(3):
            await more(traffic, 40)
            with deployment.client() as redis:
                redis.flushall()
        for pid in drainers(deployment.planes):
            os.kill(pid, signal.SIGKILL)
        await more(traffic, 40)
    await verified(deployment, traffic)


async def test_redis_is_down_for_a_while(deployment: Deployment) -> None:
    async with traffic_of(deployment) as traffic:
        await more(traffic)
        await asyncio.to_thread(deployment.redis.stop)
        await more(traffic, 150)
        await asyncio.to_thread(deployment.redis.start)
        await more(traffic)
    await verified(deployment, traffic)
