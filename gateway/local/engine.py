"""The engine behind the HTTP surface: takes work from the event loop to the inference thread and its events back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

from gateway.kernel.errors import GatewayError, Kind
from gateway.local import install_status
from gateway.local.binding import Binding
from gateway.local.http import ClientGone, Exchange, watching
from gateway.local.native import Cancelled
from gateway.local.residency import Residency, Resident
from gateway.local.scheduler import Job, Scheduler
from gateway.local.specs import EngineSettings

Event = TypeVar("Event")
_DEFAULT_LANE = "default"


class Engine:
    """The models, the queue and the inference thread of one process."""

    def __init__(self, settings: EngineSettings, binding: Binding | None = None) -> None:
        self.settings = settings
        self.binding = binding or Binding()
        self.residency = Residency(self.binding, settings, self._loaded)
        self._waking: set[Callable[[], object]] = set()
        self.scheduler = Scheduler(settings.queue, self.residency.sweep, self.residency.abort, self.residency.ready)

    def start(self) -> None:
        """Start computing."""
        self.scheduler.start()

    def configure(self, settings: EngineSettings) -> None:
        """Use other settings; what runs and waits is not cut."""
        self.settings = settings
        self.residency.configure(settings)
        self.scheduler.resize(settings.queue)

    def close(self, timeout: float) -> None:
        """Finish what runs within ``timeout`` seconds, then free everything."""
        self.scheduler.close(timeout)
        self.residency.close()

    def check_model(self, name: str) -> None:
        """Raises ``GatewayError`` (``NOT_FOUND``) for a model that is not configured."""
        if name not in self.settings.models:
            known = ", ".join(sorted(self.settings.models)) or "none"
            message = f"The model {name!r} does not exist. Local models: {known}."
            raise GatewayError(Kind.NOT_FOUND, "model_not_found", message, "model")

    async def once_loaded(self, model: str) -> Resident:
        """The model as soon as it is in memory, for whoever's sake it is loaded; this alone loads none."""
        loop = asyncio.get_running_loop()
        loaded = asyncio.Event()

        def wake() -> None:
            # The loop may be gone when the process shuts down.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(loaded.set)

        self._waking.add(wake)
        try:
            while (resident := self.residency.peek(model)) is None:
                await loaded.wait()
                loaded.clear()
        finally:
            self._waking.discard(wake)
        return resident

    def _loaded(self) -> None:
        for wake in tuple(self._waking):
            wake()

    async def stream(
        self, exchange: Exchange, model: str, work: Callable[[Resident, Job], Iterator[Event]]
    ) -> AsyncIterator[Event]:
        """Run ``work`` on the inference thread and yield what it yields.

        The work stops when the client leaves or the caller stops reading. Raises :class:`ClientGone`, and what the
        work raised.
        """
        self.check_model(model)
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

        def post(kind: str, value: Any) -> None:
            # The loop may be gone when the process shuts down.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(events.put_nowait, (kind, value))

        def run(job: Job) -> None:
            for event in work(self.residency.use(model), job):
                post("event", event)
            post("end", None)

        lane = exchange.header(b"x-gateway-organization") or _DEFAULT_LANE
        job = Job(lane, run, lambda error: post("error", error))
        self.scheduler.submit(job)
        try:
            async with watching(exchange, lambda: events.put_nowait(("error", ClientGone()))):
                while (item := await events.get())[0] == "event":
                    yield item[1]
            if item[0] == "error":
                raise _public(item[1])
        finally:
            self.scheduler.cancel(job)

    def health(self) -> dict[str, Any]:
        """What ``GET /health`` answers."""
        installed = self.binding.installed()
        status = install_status.read(self.binding.status_path)
        message = None if installed else install_status.explain(status)[0]
        states = self.residency.states()
        return {
            "status": "ok" if installed else "unavailable",
            "engine": {"installed": installed, "version": self.binding.version() or None, "message": message},
            "models": [{"id": name, "state": state} for name, state in states.items()],
            "queue": {
                "waiting": self.scheduler.waiting,
                "running": self.scheduler.running,
                "limit": self.settings.queue,
            },
        }


def _public(error: Exception) -> Exception:
    if isinstance(error, Cancelled):
        return GatewayError(Kind.UNAVAILABLE, "shutting_down", "The local model is shutting down.", retry_after=5)
    if isinstance(error, GatewayError | ClientGone):
        return error
    return GatewayError(Kind.INTERNAL, "local_model_failed", "The local model failed to answer.")
