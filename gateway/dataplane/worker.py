"""One data-plane process: event loop, server, configuration reload, drain."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from pathlib import Path

import uvicorn
import uvloop
from msgspec import Struct

from gateway.contract.internal import FORWARDED, forwarded_token
from gateway.dataplane.access_log import AccessLog
from gateway.dataplane.admission.state import Admission
from gateway.dataplane.app import Worker
from gateway.dataplane.batching.service import Batching
from gateway.dataplane.beside import Beside
from gateway.dataplane.emit import FileSink
from gateway.dataplane.gauges import Gauges
from gateway.dataplane.resting import Resting
from gateway.dataplane.retiring import linger, retire
from gateway.dataplane.runtime import Runtime, build_runtime
from gateway.dataplane.scrape import Scrape
from gateway.dataplane.server import GatewayProtocol
from gateway.dataplane.stored.store import store_for
from gateway.dataplane.tracing import TracingError
from gateway.dataplane.upstream.resolver import Resolver
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.memory import keep_freed
from gateway.plugin.load import PluginError
from gateway.settings.faults import ConfigError
from gateway.settings.load import load
from gateway.settings.model import Settings

logger = logging.getLogger("gateway.worker")

KEEP_ALIVE = 75.0  # seconds an idle client connection is kept
INCOMPLETE = 60.0  # seconds a client may take to send one request
SWEEP = 1.0
TAKE = 10.0  # seconds that the worker before this one gets to hand over its counts
SIDECAR_START = 10.0  # seconds that requests for its paths wait for a sidecar started with this worker
COUNTING_END = 2.0  # seconds that tokens may still be counted at the end, before they are estimated by their size
SHUTDOWN = 1  # seconds that answers which were ended get to be read, and admin requests to end
TRACES_END = 3.0  # seconds a collector gets at the end


class WorkerOptions(Struct, frozen=True):
    """What a supervisor hands to a worker. ``ready_fd`` gets one byte when the worker accepts; one that takes the place
    of another gets it when it could, and accepts as soon as the other doesn't any more.

    ``index`` is the number of its files, no living worker has the same. ``place`` is which of ``server.workers`` it is;
    ``after`` is the index of the one whose place it takes.
    """

    settings: Settings
    config_path: str | None
    sockets: list[socket.socket]
    index: int
    ready_fd: int
    local_socket: str | None
    master_key: str
    run_id: str = ""
    """The same for all processes of one start of the gateway: its process id, a hyphen, a random number in hex."""
    sidecar: str | None = None
    """Where the sidecar answers: ``unix:/path`` or ``http(s)://host:port``; None where there is none."""
    place: int = 0
    after: int | None = None


def run(options: WorkerOptions) -> int:
    """Serve until SIGTERM, then drain. SIGHUP re-reads the configuration; SIGUSR2 says that another worker is there to
    take this one's place. Returns the exit code.
    """
    keep_freed()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Process(options).serve())


class _Server(uvicorn.Server):
    """uvicorn's server with our own once-a-second work; signals are the process's."""

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self.worker = worker
        self.resting = Resting()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            self.upkeep()
            self.sweep()
        return self.should_exit

    def upkeep(self) -> None:
        """What has to be done about once a second, beside looking at connections."""
        self.worker.clock.tick()
        self.worker.scrape.tick()
        if self.worker.learnt is not None:
            self.worker.learnt.watch()
        self.resting.look(self.worker.runtime.active)

    def sweep(self) -> None:
        """Look at every client connection: see :meth:`GatewayProtocol.sweep`."""
        now = self.worker.loop.time()
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, GatewayProtocol):
                connection.sweep(now, KEEP_ALIVE, INCOMPLETE)


class _Process:
    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.base_dir = Path(options.config_path).absolute().parent if options.config_path else Path.cwd()
        self._reloading: asyncio.Task[None] | None = None
        self._reload_again = False

    async def serve(self) -> int:
        options = self.options
        settings = options.settings
        loop = asyncio.get_running_loop()
        self.resolver = Resolver(loop)
        share = settings.server.workers > 1 or options.after is not None
        scrape = Scrape(settings.data_dir, options.run_id, f"worker-{options.index}", share=share)
        self.on_failure = scrape.metrics.plugin_failed
        try:
            sink = FileSink(Path(settings.data_dir) / "usage", options.index, loop)
            self.admission = admission = Admission.open(options, sink, scrape.metrics)
            runtime = await build_runtime(
                settings,
                base_dir=self.base_dir,
                master_key=options.master_key,
                local_socket=options.local_socket,
                resolver=self.resolver,
                on_failure=self.on_failure,
                registry=admission.registry,
                learnt=admission.learnt,
                lender=admission.lender,
            )
        except (PluginError, TracingError, ValueError, OSError) as error:
            logger.error("the configuration can't be served", extra={"faults": str(error)})
            return 78  # EX_CONFIG
        if admission.prices is not None:
            admission.prices.serve(runtime.router)
        log = AccessLog(loop, settings.telemetry.access_log)
        worker = self._work(runtime, sink, log, scrape)
        self.server = _Server(_server_config(worker, settings), worker)
        self.gauges = Gauges(worker, sink, self.server.server_state.connections, admission.lender)
        for number, act in (
            (signal.SIGTERM, self._stop),
            (signal.SIGINT, self._stop),
            (signal.SIGHUP, self._reload),
            (signal.SIGUSR2, self._retire),
        ):
            loop.add_signal_handler(number, act)
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)  # requests leave no cycles: looking for them more often finds nothing
        worker.forward.expected_by = loop.time() + SIDECAR_START
        try:
            await self._take_place()
            admission.start(SIDECAR_START)
            await self._run_server()
        finally:
            await worker.counter.close(COUNTING_END)
            for kept in (worker.stored, worker.batching):
                if kept is not None:
                    await kept.close()
            sink.close()
            await admission.stop()
            await self._close(log)
        return 0

    def _work(self, runtime: Runtime, sink: FileSink, log: AccessLog, scrape: Scrape) -> Worker:
        """Put together what serves requests."""
        options, settings, admission = self.options, self.options.settings, self.admission
        self.worker = worker = Worker(runtime, sink, log, scrape, admission.learnt, options.sidecar)
        worker.taught = admission.taught
        worker.stored = store_for(settings)
        worker.catalogue.source = admission.source
        worker.batching = Batching(worker, Path(settings.data_dir))
        if options.sidecar is not None and options.sidecar.startswith("unix:"):
            worker.beside = Beside(options.sidecar, options.master_key)
        elif options.sidecar is not None:
            worker.forward.introduction = (f"{FORWARDED}: {forwarded_token(options.master_key)}".encode(),)
        return worker

    async def _close(self, log: AccessLog) -> None:
        """Let go what is left once usage and limits are written."""
        worker = self.worker
        worker.forward.close()
        if worker.beside is not None:
            worker.beside.close()
        log.close()
        worker.scrape.publish()
        if worker.runtime.tracer is not None:
            worker.runtime.tracer.close(TRACES_END)
        await worker.runtime.chain.stop()

    async def _take_place(self) -> None:
        before = self.options.after
        if before is not None:
            self._tell_ready()
            until = asyncio.get_running_loop().time() + TAKE
            await self.admission.succeed(before, lambda: self.server.should_exit or self.worker.loop.time() > until)

    def _tell_ready(self) -> None:
        os.write(self.options.ready_fd, b"1")
        os.close(self.options.ready_fd)

    async def _run_server(self) -> None:
        server = self.server
        config = server.config
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=self.options.sockets)
        if self.options.after is None:
            self._tell_ready()
        batching = self.worker.batching
        assert batching is not None
        batching.runner.start()
        await server.main_loop()
        batching.runner.leave()
        left = self.worker.runtime.settings.server.drain
        if self.worker.retiring:
            left = await retire(server, self.worker, self.admission.release, left)
        ends_at = self.worker.loop.time() + left
        await linger(server, self.worker, left)
        await self._end_rest()
        config.timeout_graceful_shutdown = SHUTDOWN
        await server.shutdown(sockets=self.options.sockets)
        await self._end_rest()  # a request whose body was complete only now
        await self.worker.running.finish(max(0.0, ends_at - self.worker.loop.time()))
        await batching.runner.finish(max(0.0, ends_at - self.worker.loop.time()))

    async def _end_rest(self) -> None:
        """End the requests that the drain did not wait for; each is told, settled and recorded like any other."""
        error = GatewayError(Kind.UNAVAILABLE, "shutting_down", "The gateway is shutting down.", retry_after=1)
        running = []
        for connection in tuple(self.server.server_state.connections):
            exchange = connection.current if isinstance(connection, GatewayProtocol) else None
            if exchange is not None and exchange.flow is not None and not exchange.response_complete:
                exchange.keep_alive = False
                exchange.refuse(error)
                running.append(exchange.flow.task)
        tasks = [task for task in running if task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=SWEEP)
        await asyncio.sleep(0)  # the turn in which their usage events are written

    def _stop(self) -> None:
        self.worker.draining = self.worker.leaving = True
        self.server.should_exit = True

    def _retire(self) -> None:
        self.worker.retiring = self.worker.leaving = True
        self.worker.scrape.share()
        self.server.should_exit = True

    def _reload(self) -> None:
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.get_running_loop().create_task(self._swap_until_current())
        else:
            self._reload_again = True

    async def _swap_until_current(self) -> None:
        """Take the configuration up, once more where it changed meanwhile."""
        self._reload_again = True
        while self._reload_again:
            self._reload_again = False
            await self._swap()

    async def _swap(self) -> None:
        """Build the new configuration; only a whole and valid one replaces the old."""
        old = self.worker.runtime
        try:
            settings = load(self.options.config_path, os.environ)
            new = await build_runtime(
                settings,
                base_dir=self.base_dir,
                master_key=settings.master_key or self.options.master_key,
                local_socket=self.options.local_socket,
                resolver=self.resolver,
                previous=old,
                on_failure=self.on_failure,
                learnt=self.admission.learnt,
                lender=self.admission.lender,
            )
        except (ConfigError, PluginError, TracingError) as error:
            logger.error("configuration not replaced", extra={"faults": str(error)})
            self.worker.metrics.reloaded(False)
            return
        except Exception:
            logger.exception("configuration not replaced")
            self.worker.metrics.reloaded(False)
            return
        if self.admission.prices is not None:
            self.admission.prices.serve(new.router)
        self.worker.runtime = new
        if self.admission.learnt is not None:
            self.admission.learnt.configure(settings)
        self.worker.max_body_bytes = settings.server.max_body_bytes
        self.worker.log.enabled = settings.telemetry.access_log
        old.retire()
        self.gauges.retired(old)
        self.worker.metrics.reloaded(True)
        logger.info("configuration replaced", extra={"models": len(new.router.routes)})


def _server_config(worker: Worker, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        worker,
        loop="none",
        http=GatewayProtocol,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=2048,
        timeout_graceful_shutdown=int(settings.server.drain) or 1,
    )
