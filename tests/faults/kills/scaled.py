"""The scaled deployment: two ``gateway proxy`` trees, two ``gateway sidecar``, a Redis and a PostgreSQL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import yaml

from tests.faults.kills.settings import gateway_config
from tests.faults.kills.sidecar import Sidecar
from tests.faults.kills.tree import Tree, kill
from tests.support.postgres import running_postgres
from tests.support.redis_server import RedisServer, running_redis

LONGEST_AWAY = 3.0  # seconds that Redis is away


class Scaled:
    """See :class:`tests.faults.kills.deployment.Deployment`. A Redis that is killed comes back without its memory."""

    name = "scaled"
    kinds: Sequence[str] = ("worker", "sidecar", "redis", "drainer", "tree", "counter")
    keeps = False

    def __init__(self, upstream: str, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.data_dir = ""
        self._folder = folder
        self._upstream = upstream
        self._env = env
        self._stack = ExitStack()
        self._chance = random.Random(1)
        names = ("one", "two")
        self._sidecars = [Sidecar({}, folder / f"sidecar-{name}", env) for name in names]
        self.nodes: Sequence[Tree] = [Tree({}, folder / f"proxy-{name}", "proxy", env) for name in names]
        self.database_url: str | None = None
        self._redis: RedisServer | None = None

    @property
    def ledgers(self) -> Sequence[Path]:
        """Configurations by which the ledger can be verified: of each machine with files, as if it had the database."""
        paths = []
        for node in self.nodes:
            path = node.folder / "verify.yaml"
            path.write_text(yaml.safe_dump({**node.config, "database_url": self.database_url}))
            paths.append(path)
        return paths

    async def start(self) -> None:
        """Start it."""
        redis = self._redis = self._stack.enter_context(running_redis(keeps=self.keeps))
        postgres = await asyncio.to_thread(self._stack.enter_context, running_postgres())
        database_url = self.database_url = postgres.url(await postgres.create())
        for sidecar in self._sidecars:
            sidecar.config.update(gateway_config(self._upstream, redis_url=redis.url, database_url=database_url))
            sidecar.start()
        for node, sidecar in zip(self.nodes, self._sidecars, strict=True):
            place = {"redis_url": redis.url, "sidecar": {"url": sidecar.address}}
            node.config.update(gateway_config(self._upstream, **place))
            await node.start()

    def roots(self) -> Sequence[str]:
        """Where requests can be sent to."""
        return [node.root for node in self.nodes if node.root is not None]

    def living(self, kind: str) -> list[int]:
        """What there is of a kind: ids of processes, or of trees their places."""
        if kind == "redis":
            return [self._server().pid]
        if kind == "tree":
            return [place for place, node in enumerate(self.nodes) if node.root is not None]
        if kind == "sidecar":
            return [sidecar.pid for sidecar in self._sidecars if sidecar.pid is not None]
        of_kind = {"worker": Tree.workers, "drainer": Tree.drainers, "counter": Tree.counters}
        return [pid for node in self.nodes for pid in of_kind[kind](node)]

    async def kill(self, kind: str, pid: int) -> bool:
        """Kill one of them. What nobody else starts again is started here."""
        if kind == "tree":
            await self.nodes[pid].restart()
        elif kind == "redis":
            redis = self._server()
            await asyncio.to_thread(redis.kill)
            await asyncio.sleep(self._chance.uniform(0, LONGEST_AWAY))
            await asyncio.to_thread(redis.start)
        else:
            return kill(pid)
        return True

    async def stop(self) -> None:
        """End it as an operator does; all of it, also where a part does not end well."""
        async with AsyncExitStack() as parts:
            parts.push_async_callback(asyncio.to_thread, self._stack.close)
            every: list[Tree | Sidecar] = [*self.nodes, *self._sidecars]
            for part in reversed(every):
                parts.push_async_callback(part.stop)

    def log(self) -> str:
        """What the processes wrote last."""
        return "\n".join([*(node.log() for node in self.nodes), *(sidecar.log() for sidecar in self._sidecars)])

    def _server(self) -> RedisServer:
        assert self._redis is not None
        return self._redis


class Kept(Scaled):
    """With a Redis that writes down what it does, and comes back with it."""

    name = "scaled, Redis keeps its memory"
    keeps = True
