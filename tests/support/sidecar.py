"""Sidecars for tests: the internal API in the test's own loop, and a real ``gateway sidecar`` process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
import yaml
from fastapi import FastAPI

from gateway.bus.policy import Query
from gateway.contract.catalogue import UNKNOWN, Details
from gateway.contract.internal import HEADER, internal_token
from gateway.contract.policy import Resolution
from gateway.contract.prices import Priced, PriceFrom, Prices
from gateway.sidecar import internal
from gateway.sidecar.feed import Feed
from gateway.sidecar.ingest import IngestState
from gateway.sidecar.sockets import UnixListener
from tests.support.changes import MemoryLog

MASTER = "gw_test_master_key"
START_SECONDS = 60.0
STOP_SECONDS = 40.0
_COMMAND = Path(sys.executable).with_name("gateway")


class NoIngester:
    """Enters nothing."""

    def __init__(self) -> None:
        self.state = IngestState()


class InternalApi:
    """What the internal API is served from, without a database: a log in memory and answers by digest."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.feed = Feed(log)
        self.master_key = MASTER
        self.started = time.monotonic()
        self.ingester = NoIngester()
        self.answers: dict[str, Resolution] = {}
        self.asked: list[Query] = []
        self.batches: list[int] = []
        """How many keys came together, each time."""
        self.prices: dict[Priced, list[PriceFrom]] = {}
        self.details: dict[Priced, Details] = {}
        self.priced: list[int] = []
        """How many targets came together, each time."""
        self.gate = asyncio.Event()
        """While it is not set, lookups wait."""
        self.gate.set()

    async def resolve(self, query: Query) -> Resolution:
        """The answer that was laid down for the digest."""
        self.asked.append(query)
        await self.gate.wait()
        return self._answer(query.digest or "")

    async def describe(self, targets: Sequence[Priced]) -> Sequence[Details]:
        """The details that were laid down for the targets."""
        return [self.details.get(target, UNKNOWN) for target in targets]

    async def resolve_all(self, digests: Sequence[bytes]) -> list[Resolution]:
        """The answers that were laid down for the digests."""
        self.asked += [Query(digest=digest.hex()) for digest in digests]
        self.batches.append(len(digests))
        await self.gate.wait()
        return [self._answer(digest.hex()) for digest in digests]

    async def cost(self, targets: Sequence[Priced]) -> Prices:
        """The prices that were laid down."""
        self.priced.append(len(targets))
        return Prices([self.prices.get(target, []) for target in targets], [])

    def _answer(self, digest: str) -> Resolution:
        return self.answers.get(digest, Resolution(seq=self.feed.seq))


@asynccontextmanager
async def internal_api(path: Path, log: MemoryLog) -> AsyncIterator[InternalApi]:
    """The real router and feed on a Unix socket, for the duration of the block."""
    served = InternalApi(log)
    app = FastAPI()
    app.add_exception_handler(internal.Forbidden, internal.forbidden)
    app.include_router(internal.router(served))
    config = uvicorn.Config(
        app, loop="none", http="httptools", ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    listener = UnixListener(str(path))
    async with served.feed:
        await server.startup(sockets=[listener.socket])
        serving = asyncio.create_task(server.main_loop())
        try:
            yield served
        finally:
            served.feed.close()
            served.gate.set()
            server.should_exit = True
            await serving
            await server.shutdown(sockets=[listener.socket])
            listener.close()


def sidecar_health(socket_path: str, master_key: str = MASTER) -> dict[str, Any]:
    """What ``/internal/health`` tells, once a sidecar answers on the socket; it may be about to start."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(socket_path)
                break
            except OSError:
                assert time.monotonic() < deadline, f"nobody answers on {socket_path}"
        time.sleep(0.02)
    with httpx.Client(transport=httpx.HTTPTransport(uds=socket_path), base_url="http://sidecar") as client:
        answer = client.get("/internal/health", headers={HEADER: internal_token(master_key)}, timeout=START_SECONDS)
    return dict(answer.raise_for_status().json())


class RunningSidecar:
    """One ``gateway sidecar`` process. ``http`` is a client of its Unix socket that knows the internal header."""

    def __init__(self, config: dict[str, Any], directory: Path, env: Mapping[str, str] | None = None) -> None:
        self.config_path = directory / "gateway.yaml"
        self.config = {"master_key": MASTER, "data_dir": str(directory / "data"), **config}
        self.stderr: deque[str] = deque(maxlen=2000)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._env = {**os.environ, **(env or {})}
        self.write(self.config)
        self.start()

    @property
    def data_dir(self) -> str:
        """Where it keeps what it keeps."""
        return str(self.config["data_dir"])

    def write(self, config: dict[str, Any]) -> None:
        """Replace the configuration file."""
        fresh = self.config_path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(config, sort_keys=False))
        fresh.replace(self.config_path)

    def start(self) -> None:
        """Start the process and wait until it answers."""
        self.process = subprocess.Popen(
            [str(_COMMAND), "sidecar", "--config", str(self.config_path), "--json"],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait(STOP_SECONDS)
            self._reader.join(STOP_SECONDS)
            self.process.stdout.close()
            raise RuntimeError(f"the sidecar ended at start with {code}:\n{self.log()}")
        self.ready: dict[str, Any] = json.loads(line)
        self.address = str(self.ready["urls"][0])
        transport = httpx.HTTPTransport(uds=self.address.removeprefix("unix:"))
        self.http = httpx.Client(
            transport=transport,
            base_url="http://sidecar",
            headers={HEADER: internal_token(str(self.config["master_key"]))},
            timeout=30,
        )

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr as pipe:
            for line in pipe:
                self.stderr.append(line.rstrip("\n"))
                self._lines.put(line)
        self._lines.put(None)

    def wait_log(self, text: str) -> str:
        """Wait for the next line of the log that holds ``text``."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            assert line is not None, f"{text!r} is not in the log:\n{self.log()}"
            if text in line:
                return line

    def log(self) -> str:
        """The last lines of what the process logged."""
        return "\n".join(self.stderr)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; gives the exit code. The process may be started again."""
        self.http.close()
        self.process.send_signal(how)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the sidecar ignored {how.name} for {STOP_SECONDS} s:\n{self.log()}") from None
        finally:
            self._reader.join(STOP_SECONDS)
            assert self.process.stdout is not None
            self.process.stdout.close()


@contextmanager
def running_sidecar(
    config: dict[str, Any], directory: Path, env: Mapping[str, str] | None = None
) -> Iterator[RunningSidecar]:
    """A sidecar with ``config`` (see ``gateway.yaml``) for the duration of the block; its end is checked."""
    sidecar = RunningSidecar(config, directory, env)
    try:
        yield sidecar
    except BaseException as error:
        if sidecar.process.poll() is None:
            with contextlib.suppress(AssertionError):
                sidecar.end()
        error.add_note(f"The sidecar's log:\n{sidecar.log()}")
        raise
    if sidecar.process.poll() is None:
        code = sidecar.end()
        assert code == 0, f"the sidecar ended with {code}:\n{sidecar.log()}"
