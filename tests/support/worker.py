"""A worker of the data plane in the test's own loop, on an ephemeral port, with everything but signals."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from gateway.contract.usage import UsageEvent
from gateway.dataplane.access_log import AccessLog
from gateway.dataplane.app import Worker
from gateway.dataplane.counting.__main__ import count
from gateway.dataplane.counting.client import Counter, Done
from gateway.dataplane.counting.wire import Ask, Produced
from gateway.dataplane.emit import FileSink
from gateway.dataplane.runtime import Runtime, build_runtime
from gateway.dataplane.scrape import Scrape
from gateway.dataplane.server import GatewayProtocol
from gateway.dataplane.upstream.resolver import Resolver
from gateway.dataplane.vendors import UNKNOWN
from gateway.dataplane.worker import _Server, _server_config
from gateway.plugin.api import Plugin
from gateway.plugin.chain import Chain
from gateway.plugin.failures import Fail
from gateway.settings.model import (
    Key,
    Limit,
    Model,
    Price,
    Provider,
    Retry,
    Server,
    Settings,
    Target,
    Telemetry,
)
from tests.support.raw_upstream import WAIT

KEY = "gw_test_unit"
MASTER = "gw_test_master_key"
FAST = Retry(attempts=2, backoff=0.0)


class KeepingSink:
    """The real sink, and a list of what went through it. Not a kind of it: compiled, it can't be inherited from."""

    def __init__(self, directory: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.file = FileSink(directory, 0, loop)
        self.events: list[UsageEvent] = []
        self.changed = asyncio.Event()

    @property
    def failing(self) -> bool:
        return self.file.failing

    @failing.setter
    def failing(self, value: bool) -> None:
        self.file.failing = value

    def append(self, event: UsageEvent, release: Callable[[], None]) -> None:
        self.file.append(event, release)
        self.events.append(event)
        self.changed.set()

    def close(self) -> None:
        self.file.close()


class RunningWorker:
    """``address`` for sockets, and the parts a test may look at."""

    def __init__(
        self, worker: Worker, sink: KeepingSink, address: tuple[str, int], connections: set[GatewayProtocol]
    ) -> None:
        self.worker = worker
        self.sink = sink
        self.address = address
        self.connections = connections

    @property
    def runtime(self) -> Runtime:
        """The configuration in use."""
        return self.worker.runtime

    async def take_up(self, settings: Settings, base_dir: Path) -> None:
        """Serve by another configuration from now on, as a worker does that reloads."""
        old = self.runtime
        self.worker.runtime = await build_runtime(
            settings,
            base_dir=base_dir,
            master_key=MASTER,
            local_socket=None,
            resolver=Resolver(asyncio.get_running_loop()),
            previous=old,
        )
        old.retire()

    async def usage(self, count: int = 1) -> list[UsageEvent]:
        """The usage events so far, once there are ``count``."""
        async with asyncio.timeout(WAIT):
            while len(self.sink.events) < count:
                self.sink.changed.clear()
                await self.sink.changed.wait()
        return self.sink.events

    def used(self, metric: str, key: str = "unit") -> int:
        """What a key's counter of ``metric`` stands at."""
        return next(c.count.taken for c in self.runtime.limiters[key].counters if c.metric == metric)


class CountingHere(Counter):
    """Counts as its process would, without starting one for every test."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        # Its tables take half a second to build, once: not within a test that measures time.
        count(Ask(0, UNKNOWN.vocabulary, "chat/completions", None, Produced(text=b"a")))

    def count(self, ask: Ask, done: Done) -> None:
        """Count in this process; what was counted is told at the next turn of the loop."""
        self._loop.call_soon(done, count(ask))


@asynccontextmanager
async def running_worker(
    settings: Settings, directory: Path, plugins: Iterable[tuple[Plugin, Fail]] = ()
) -> AsyncIterator[RunningWorker]:
    """A worker for the duration of the block. At its end no request may be left over."""
    loop = asyncio.get_running_loop()
    runtime = await build_runtime(
        settings, base_dir=directory, master_key=MASTER, local_socket=None, resolver=Resolver(loop)
    )
    if plugins:
        runtime.chain = Chain(plugins)
    sink = KeepingSink(directory / "usage", loop)
    log = AccessLog(loop, settings.telemetry.access_log)
    worker = Worker(runtime, sink, log, Scrape(str(directory), "", "worker-0", share=False))
    worker.counter = CountingHere(loop)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = _Server(_server_config(worker, settings), worker)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    ticking = loop.create_task(_tick(server))
    connections = cast("set[GatewayProtocol]", server.server_state.connections)
    try:
        yield RunningWorker(worker, sink, listener.getsockname(), connections)
    finally:
        ticking.cancel()
        for each in server.servers:
            each.close()
        listener.close()
        for connection in tuple(connections):
            connection.transport.abort()
        await _at_rest(worker.runtime)
        worker.runtime.retire()
        sink.close()
        log.close()


async def _tick(server: _Server) -> None:
    for counter in itertools.count():
        await server.on_tick(counter)
        await asyncio.sleep(0.1)


async def _at_rest(runtime: Runtime) -> None:
    async with asyncio.timeout(WAIT):
        while runtime.active or any(pool.active for pool in runtime.pools.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert all(pool.waiting == 0 for pool in runtime.pools.values())


def provider(base_url: str, name: str = "up", **fields: Any) -> Provider:
    """A provider that is tried twice at once, unless told otherwise."""
    return Provider(name=name, base_url=base_url, **{"retry": FAST, **fields})


def settings_for(
    *providers: Provider,
    limits: tuple[Limit, ...] = (),
    prices: tuple[Price, ...] = (),
    max_body_bytes: int = 1_000_000,
    models: tuple[Model, ...] | None = None,
    **key: Any,
) -> Settings:
    """Settings with the model ``m``, whose targets are ``x`` at each provider in order, and one key."""
    targets = tuple(Target(provider=each.name, model="x") for each in providers)
    return Settings(
        server=Server(max_body_bytes=max_body_bytes, drain=5),
        providers=providers,
        models=models if models is not None else (Model(name="m", targets=targets),),
        pricing=prices,
        keys=(Key(key=KEY, name="unit", organization="acme", limits=limits, **key),),
        telemetry=Telemetry(access_log=False),
    )
