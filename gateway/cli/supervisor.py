"""One process tree: a supervisor that does nothing but watch its workers, the sidecar and the engine of local models.

The workers do without the others: the sidecar starts once they accept, so that it takes no time from their start, and
its death is no concern of theirs; nor is that of the process that sends their usage to Redis, which is run where
``redis_url`` is set. All are stopped after them.

The supervisor has no threads and no event loop, so that it can fork at any time. It waits in ``poll`` for signals, for
the ready bytes of its children and for the next thing that is due.

========  ==========================================================================================
SIGTERM   workers finish what they have begun, for at most ``server.drain`` seconds; then exit code 0
SIGINT    the same; when already stopping, everything is killed at once; exit code 130
SIGHUP    the configuration is read again, as when one of its files changes; a faulty one changes nothing
SIGUSR2   workers are replaced one by one, and nothing is dropped: see :mod:`gateway.cli.rolling`
========  ==========================================================================================
"""

from __future__ import annotations

import importlib
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path
from time import monotonic

from msgspec import Struct

from gateway.cli.config import read_config
from gateway.cli.fixed import warn_of_fixed
from gateway.cli.process import Child, ended, execute
from gateway.cli.rolling import Rolling, WorkerChild, first_indexes
from gateway.cli.watch import INTERVAL, Watch
from gateway.dataplane.snapshots import Tally
from gateway.settings.faults import ConfigError
from gateway.settings.load import Loaded
from gateway.settings.model import Settings

STOPPED = 0
START_FAILED = 4
KILLED = 5
INTERRUPTED = 130

START_TIMEOUT = 60.0
# Seconds beyond server.drain before a process that does not end is killed.
MARGIN = 10.0
# EX_CONFIG of sysexits.h: starting again would fail again.
CONFIG_FAULT = 78

WORKER_MODULE = "gateway.dataplane.worker"
SIDECAR_MODULE = "gateway.sidecar"
DRAINER_MODULE = "gateway.bus.usage_drainer"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)
_log = logging.getLogger("gateway.supervisor")


class Launch(Struct, frozen=True, kw_only=True):
    """What a process tree is started with.

    ``local_socket`` is where the engine of local models listens, ``sidecar`` where the workers find the sidecar
    (``unix:/path`` or a URL), ``sidecar_socket`` where one is run; None where there is none, or where none is run.
    """

    loaded: Loaded
    config_path: Path | None
    env: Mapping[str, str]
    sockets: list[socket.socket]
    master_key: str
    local_socket: str
    sidecar: str | None = None
    sidecar_socket: str | None = None


class Supervisor:
    """Starts, watches, reloads and stops the processes. ``on_ready`` is called once, when every worker accepts."""

    def __init__(
        self,
        launch: Launch,
        on_ready: Callable[[], None],
        worker_module: str = WORKER_MODULE,
        sidecar_module: str = SIDECAR_MODULE,
    ) -> None:
        self.launch = launch
        self.on_ready = on_ready
        self.worker_module = worker_module
        self.sidecar_module = sidecar_module
        self.settings: Settings = launch.loaded.settings
        self.watch = Watch(launch.loaded.files)
        self.run_id = f"{os.getpid()}-{os.urandom(4).hex()}"
        self.tally = Tally(self.settings.data_dir, self.run_id)
        self.generation = 0
        indexes = first_indexes(self.settings.data_dir, self.settings.server.workers)
        self.workers = [WorkerChild(self._work, place, index) for place, index in enumerate(indexes)]
        self.rolling = Rolling(self.workers, self._work, START_TIMEOUT, self.tally.replaced)
        self.engine = Child("local engine", self._engine)
        self.sidecar = Child("sidecar", self._sidecar)
        self.drainer = Child("usage drainer", self._drain)
        self.started = False
        self.code = STOPPED
        # Monotonic time at which a stop that is under way is forced; None while nothing is being stopped.
        self.deadline: float | None = None
        self._last_stopping = False
        self._start_by = monotonic() + START_TIMEOUT
        self._look_at = monotonic() + INTERVAL

    def run(self) -> int:
        """Blocks until everything has ended; gives the exit code."""
        read_end, write_end = socket.socketpair()
        read_end.setblocking(False)
        write_end.setblocking(False)
        for handled in _SIGNALS:
            signal.signal(handled, lambda *_: None)
        signal.set_wakeup_fd(write_end.fileno(), warn_on_full_buffer=False)
        try:
            self._start()
            while not self._finished():
                for number in self._wait(read_end):
                    self._on_signal(number)
                self._reap()
                self._due()
        finally:
            self._kill()
            self.tally.close()
        return self.code

    def _start(self) -> None:
        # The engine first: it has the most to load, and does so while the workers start.
        if needs_engine(self.settings):
            self.engine.spawn(self.generation)
        if len(self.workers) > 1:
            # Loaded once and shared by all workers; a single worker loads it itself and keeps the supervisor small.
            importlib.import_module(self.worker_module)
        for worker in self.workers:
            worker.spawn(self.generation)

    def _work(self, place: int, index: int, after: int | None, ready_fd: int) -> int:
        module = importlib.import_module(self.worker_module)
        path = self.launch.config_path
        options = module.WorkerOptions(
            settings=self.settings,
            config_path=str(path) if path is not None else None,
            sockets=self.launch.sockets,
            index=index,
            ready_fd=ready_fd,
            local_socket=self.launch.local_socket,
            master_key=self.launch.master_key,
            run_id=self.run_id,
            sidecar=self.launch.sidecar,
            place=place,
            after=after if any(worker.index == after for worker in (*self.workers, *self.rolling.leaving)) else None,
        )
        return int(module.run(options))

    def _engine(self, ready_fd: int) -> int:
        return execute(self._program("gateway.local", self.launch.local_socket), self.launch.env)

    def _sidecar(self, ready_fd: int) -> int:
        command = self._program(self.sidecar_module, str(self.launch.sidecar_socket))
        return execute([*command, "--ready-fd", str(ready_fd)], self.launch.env, keep=ready_fd)

    def _drain(self, ready_fd: int) -> int:
        for listener in self.launch.sockets:
            listener.close()  # or callers would be taken on when no worker is left to answer them
        # In the child alone: only a gateway with Redis has its library.
        module = importlib.import_module(DRAINER_MODULE)
        settings = self.launch.loaded.settings  # neither of the two takes effect before the next start
        return int(module.run(Path(settings.data_dir) / "usage", settings.redis_url, ready_fd))

    def _program(self, module: str, socket_path: str) -> list[str]:
        path = self.launch.config_path
        source = ["--default"] if path is None else ["--config", str(path)]
        return [sys.executable, "-m", module, *source, "--socket", socket_path]

    def _children(self) -> list[Child]:
        return [*self.workers, *self.rolling.children(), self.engine, self.sidecar, self.drainer]

    def _wait(self, wakeup: socket.socket) -> bytes:
        """Wait for a signal, a ready byte or the next thing that is due; gives the signals that came."""
        poll = select.poll()
        poll.register(wakeup, select.POLLIN)
        waiting = {child.ready_fd: child for child in self._children() if child.ready_fd is not None}
        for fd in waiting:
            poll.register(fd, select.POLLIN)
        due = self._next_due()
        # Rounded up: waking a moment too early would spin.
        for fd, _ in poll.poll(None if due is None else max(0, ceil((due - monotonic()) * 1000))):
            if fd in waiting:
                waiting[fd].read_ready()
                self._on_ready(waiting[fd])
        try:
            return wakeup.recv(4096)
        except BlockingIOError:
            return b""

    def _next_due(self) -> float | None:
        times = [child.restart_at for child in self._children()]
        times.append(self.deadline)
        if self.deadline is None:
            times.extend(self.rolling.next_due())
        if self.deadline is None and not self.started:
            times.append(self._start_by)
        if self.deadline is None and self.watch.files:
            times.append(self._look_at)
        return min((time for time in times if time is not None), default=None)

    def _on_ready(self, child: Child) -> None:
        if child.ready and child.generation < self.generation:
            # It started with the settings before the last reload.
            child.signal(signal.SIGHUP)
        if self.deadline is None:
            self.rolling.on_ready(child, self.settings.server.drain + MARGIN)
        if not self.started and self.deadline is None and all(item.ready for item in self.workers):
            self.started = True
            self.on_ready()
            if self.launch.sidecar_socket is not None:
                self.sidecar.spawn(self.generation)
            if self.launch.loaded.settings.redis_url is not None:
                self.drainer.spawn(self.generation)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP and self.deadline is None:
            self.reload()
        elif number == signal.SIGUSR2 and self.deadline is None and self.started:
            self.rolling.begin()
        elif number == signal.SIGINT and self.deadline is not None:
            _log.warning("stopping at once")
            self.code = INTERRUPTED
            self._kill()
        elif number in (signal.SIGTERM, signal.SIGINT) and self.deadline is None:
            self._stop(STOPPED)

    def _stop(self, code: int) -> None:
        self.code = code
        drain = self.settings.server.drain
        self.deadline = monotonic() + drain + MARGIN
        _log.info("stopping", extra={"drain_seconds": drain})
        for child in self._children():
            child.restart_at = None
        self.rolling.stop()
        for worker in (*self.workers, *self.rolling.children()):
            worker.signal(signal.SIGTERM)
        for listener in self.launch.sockets:
            listener.close()

    def _finished(self) -> bool:
        if self.deadline is None or any(worker.pid is not None for worker in (*self.workers, *self.rolling.children())):
            return False
        # They go last: until then a worker may be relaying an answer of theirs.
        last = (self.drainer, self.sidecar, self.engine)
        if not self._last_stopping:
            self._last_stopping = True
            self.deadline = monotonic() + MARGIN
            for child in last:
                child.signal(signal.SIGTERM)
        return all(child.pid is None for child in last)

    def _reap(self) -> None:
        for child in self._children():
            status = child.reap()
            unneeded = child is self.engine and not needs_engine(self.settings)
            if status is None or self.deadline is not None or unneeded or self.rolling.ended(child, status):
                continue
            if not self.started and child in self.workers:
                _log.error("%s %s before it was ready", child.name, ended(status))
                self._stop(START_FAILED)
                continue
            if child is self.sidecar and os.waitstatus_to_exitcode(status) == CONFIG_FAULT:
                _log.error("the sidecar cannot run with this configuration; it starts again when that is changed")
                continue
            pause = child.plan_restart()
            self.tally.restarted(child.name)
            _log.error("%s %s; it is started again in %.2f s", child.name, ended(status), pause)

    def _due(self) -> None:
        now = monotonic()
        if self.deadline is not None:
            if now >= self.deadline:
                _log.error("processes did not end in time and are killed")
                self.code = KILLED
                self._kill()
            return
        if not self.started and now >= self._start_by:
            _log.error("the workers were not ready in time", extra={"seconds": START_TIMEOUT})
            self._stop(START_FAILED)
            return
        for child in self._children():
            if child.restart_at is not None and now >= child.restart_at:
                child.spawn(self.generation)
        self.rolling.due(now)
        if self.started:
            self.rolling.step(self.generation)
        if self.watch.files and now >= self._look_at:
            self._look_at = now + INTERVAL
            if self.watch.changed():
                self.reload()

    def reload(self) -> None:
        """Read the configuration again and, if it is good, have every process take it up."""
        path = self.launch.config_path
        if path is None:
            _log.warning("there is no configuration file to read again")
            return
        # A file that changes while it is read must not be taken for the one that was read.
        before = self.watch.signatures()
        try:
            loaded = read_config(path, self.launch.env)
        except ConfigError as error:
            self.watch.reset(self.watch.files, before)
            self.tally.reloaded(False)
            faults = [str(item) for item in error.faults]
            _log.error("the new configuration is faulty; the old one stays", extra={"faults": faults})
            return
        self.watch.reset(loaded.files, before)
        for warning in loaded.warnings:
            _log.warning("%s", warning)
        warn_of_fixed(self.settings, loaded.settings)
        self.settings = loaded.settings
        self.generation += 1
        for worker in self.workers:
            if worker.ready:
                worker.signal(signal.SIGHUP)
        self._reload_engine()
        self._reload_sidecar()
        self.tally.reloaded(True)
        _log.info("the configuration was reloaded")

    def _reload_engine(self) -> None:
        if not needs_engine(self.settings):
            self.engine.restart_at = None
            self.engine.signal(signal.SIGTERM)
        elif self.engine.pid is not None:
            self.engine.signal(signal.SIGHUP)
        elif self.engine.restart_at is None:
            self.engine.spawn(self.generation)

    def _reload_sidecar(self) -> None:
        if self.sidecar.ready:
            self.sidecar.signal(signal.SIGHUP)
        elif self.started and self.launch.sidecar_socket is not None and self.sidecar.pid is None:
            self.sidecar.spawn(self.generation)

    def _kill(self) -> None:
        for child in self._children():
            child.restart_at = None
            if child.pid is not None:
                child.signal(signal.SIGKILL)
                os.waitpid(child.pid, 0)
                child.pid = None


def needs_engine(settings: Settings) -> bool:
    """Whether a provider runs on this machine."""
    return any(provider.kind == "llama_cpp" for provider in settings.providers)
