"""Which models are in memory: loaded when first asked for, unloaded when idle, changed, or when others need the room.

Loading and unloading happen on the inference thread, so a model is never unloaded under a running answer;
:meth:`Residency.peek`, :meth:`Residency.states` and :meth:`Residency.configure` may be called from any.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.kernel.errors import GatewayError, Kind
from gateway.local.binding import AbortFlag, Binding
from gateway.local.catalog import locate
from gateway.local.native import LoadedModel
from gateway.local.specs import EngineSettings, ModelSpec
from gateway.local.template import ChatTemplate

_LOG = logging.getLogger("gateway.local")


@dataclass
class Resident:
    """A model in memory. ``used`` is the monotonic time of its last use."""

    spec: ModelSpec
    model: LoadedModel
    template: ChatTemplate
    used: float


class Residency:
    """The models in memory, within the memory budget. ``loaded`` is called after each load, on the inference thread."""

    def __init__(self, binding: Binding, settings: EngineSettings, loaded: Callable[[], None]) -> None:
        self._binding = binding
        self._loaded = loaded
        self._settings = settings
        self._residents: dict[str, Resident] = {}
        self._loading: str | None = None
        self._abort: AbortFlag | None = None

    def configure(self, settings: EngineSettings) -> None:
        """Use other settings from the next job on."""
        self._settings = settings

    @property
    def specs(self) -> Mapping[str, ModelSpec]:
        """The models that may be asked for."""
        return self._settings.models

    def states(self) -> dict[str, str]:
        """Each model's state: ``unloaded``, ``loading`` or ``ready``."""
        return {
            name: "ready" if name in self._residents else "loading" if name == self._loading else "unloaded"
            for name in self._settings.models
        }

    def peek(self, name: str) -> Resident | None:
        """The model if it is in memory now."""
        return self._residents.get(name)

    def abort(self) -> None:
        """Stop what is being computed."""
        if self._abort is not None:
            self._abort.set()

    def ready(self) -> None:
        """Make ready to compute again after a stop."""
        if self._abort is not None:
            self._abort.clear()

    def use(self, name: str) -> Resident:
        """The model, loaded if need be. Raises ``GatewayError`` where that is not possible."""
        spec = self._settings.models.get(name)
        if spec is None:
            raise GatewayError(Kind.NOT_FOUND, "model_not_found", f"The model {name!r} does not exist.", "model")
        resident = self._residents.get(name)
        if resident is not None and resident.spec != spec:
            self._unload(name, "its settings changed")
            resident = None
        if resident is None:
            self._loading = name
            try:
                resident = self._load(spec)
            finally:
                self._loading = None
            self._loaded()
        resident.used = time.monotonic()
        return resident

    def sweep(self) -> None:
        """Unload what is idle, or no longer listed."""
        now = time.monotonic()
        for name, resident in list(self._residents.items()):
            if self._settings.models.get(name) != resident.spec:
                self._unload(name, "its settings changed")
            elif now - resident.used > resident.spec.options.idle_unload:
                self._unload(name, "it was idle")

    def close(self) -> None:
        """Unload everything."""
        for name in list(self._residents):
            self._unload(name, "shutting down")

    def _load(self, spec: ModelSpec) -> Resident:
        lib = self._binding.load()
        path = locate(spec.reference)
        if self._abort is None:
            self._abort = self._binding.abort_flag()
        self._make_room(spec, path.stat().st_size)
        started = time.monotonic()
        model = LoadedModel(lib, path, spec.options, self._abort)
        try:
            # Now that its dimensions are known, count the attention cache and the compute buffers as well.
            self._make_room(spec, model.footprint())
            template = ChatTemplate(model)
        except GatewayError:
            model.close()
            raise
        resident = Resident(spec, model, template, time.monotonic())
        self._residents[spec.id] = resident
        _LOG.info("Loaded %s in %.1f s", spec.id, time.monotonic() - started)
        return resident

    def _make_room(self, spec: ModelSpec, needed: int) -> None:
        budget = self._settings.memory_budget
        if needed > budget:
            message = (
                f"The model {spec.id} needs {_megabytes(needed)} MB and llama_cpp.memory_budget is "
                f"{_megabytes(budget)} MB: raise the budget, or lower llama_cpp.context_length."
            )
            raise GatewayError(Kind.UNAVAILABLE, "local_model_over_budget", message, "model")
        while self._residents and self._in_use() + needed > budget:
            oldest = min(self._residents.values(), key=lambda resident: resident.used)
            self._unload(oldest.spec.id, f"{spec.id} needs the room")

    def _in_use(self) -> int:
        return sum(resident.model.footprint() for resident in self._residents.values())

    def _unload(self, name: str, why: str) -> None:
        self._residents.pop(name).model.close()
        _LOG.info("Unloaded %s: %s", name, why)


def _megabytes(size: int) -> int:
    return -(-size // 1_000_000)
