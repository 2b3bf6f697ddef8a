"""What a worker tells of its models: what it reads in the configuration, and what the sidecar knows beside it.

The sidecar is asked when somebody lists the models, at most every :data:`FRESH` seconds. While it is away, what it told
before is told again; what nobody ever told is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any, Final

from gateway.bus.policy import PRICED_MOST, DetailSource, PolicyUnavailable
from gateway.contract.catalogue import UNKNOWN, Details
from gateway.contract.prices import Priced
from gateway.dataplane.describing import Told, chosen_among, described
from gateway.dataplane.routing import Router
from gateway.dataplane.runtime import Runtime
from gateway.dataplane.target import Target
from gateway.settings.known_targets import Facts, facts_of, told_of

FRESH: Final = 5.0
"""Seconds that a description is told again, prices included."""
_PATIENCE: Final = 2.0  # seconds that a list waits for the sidecar, which may have to load something first

_log = logging.getLogger("gateway.models")


class Catalogue:
    """The models of the configuration in use. ``created`` is Unix seconds; without a ``source`` nobody is asked."""

    def __init__(self, created: int) -> None:
        self.source: DetailSource | None = None
        self._created = created
        self._runtime: Runtime | None = None
        self._due = 0.0
        self._models: dict[str, dict[str, Any]] = {}
        self._told: dict[tuple[str, str], Details] = {}
        self._asking: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def models(self, runtime: Runtime) -> dict[str, dict[str, Any]]:
        """Every model by its name, as ``GET /v1/models`` tells it. They are shared: not to be changed."""
        if self._is_due(runtime):
            async with self._lock:
                if self._is_due(runtime):
                    await self._learn(runtime.router)
                    self._models = self._described(runtime)
                    self._runtime, self._due = runtime, time.monotonic() + FRESH
        return self._models

    def _is_due(self, runtime: Runtime) -> bool:
        return runtime is not self._runtime or time.monotonic() >= self._due

    async def _learn(self, router: Router) -> None:
        """Ask, and wait a little. An answer that comes later is there the next time; nobody waits for it again."""
        if self.source is None or (self._asking is not None and not self._asking.done()):
            return
        self._asking = asyncio.create_task(self._ask(self.source, router), name="what is known of models")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await asyncio.shield(self._asking)

    async def _ask(self, source: DetailSource, router: Router) -> None:
        waiting = [Priced(*pair) for pair in router.targets()]
        told: dict[tuple[str, str], Details] = {}
        try:
            for start in range(0, len(waiting), PRICED_MOST):
                asked = waiting[start : start + PRICED_MOST]
                for target, details in zip(asked, await source.details(asked), strict=True):
                    told[target.provider, target.model] = details
        except PolicyUnavailable as error:
            _log.debug("what is known of models can't be asked for", extra={"reason": str(error)})
            return
        self._told = told

    def _described(self, runtime: Runtime) -> dict[str, dict[str, Any]]:
        now = time.time()
        facts = _facts(runtime)
        found: dict[str, dict[str, Any]] = {}
        known: dict[Target, Told] = {}
        for route in runtime.router.routes.values():
            told = [
                Told(target, fact, self._told.get((target.provider.name, target.model), UNKNOWN))
                for target, fact in zip(route.targets, facts[route.name], strict=True)
            ]
            known.update((each.target, each) for each in told)
            found[route.name] = described(route, told, self._created, now)
        auto = runtime.router.auto
        whole = None if auto is None else auto.listed(frozenset())
        if whole is not None and whole.name not in found:
            found[whole.name] = chosen_among(whole, [known[target] for target in whole.targets], self._created, now)
        return found


def _facts(runtime: Runtime) -> dict[str, list[Facts]]:
    providers = {provider.name: provider for provider in runtime.settings.providers}
    told = told_of(runtime.settings.models)
    return {
        model.name: [
            facts_of(told[target.provider, target.model], providers[target.provider]) for target in model.targets
        ]
        for model in runtime.settings.models
    }
