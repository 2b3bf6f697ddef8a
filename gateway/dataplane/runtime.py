"""One configuration, ready to serve.

A reload builds another and swaps it in; requests finish on the one they began with.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.dataplane.admission.limiter import Lender
from gateway.dataplane.admission.policies import shared_limits
from gateway.dataplane.admission.registry import Limiter, Registry, Shared
from gateway.dataplane.auth import Credentials, KeyCache, credentials_from
from gateway.dataplane.routing import Router, router_from
from gateway.dataplane.tokens import TokenSource, source_for
from gateway.dataplane.tracing import Tracer, tracer_for
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.plugin.api import PluginContext
from gateway.plugin.chain import Chain
from gateway.plugin.failures import OnFailure
from gateway.plugin.load import build_chain
from gateway.settings.model import Settings


@dataclass(slots=True)
class Runtime:
    """The parts of a configuration that a request meets. Only ``active``, the running requests, ever changes."""

    settings: Settings
    credentials: Credentials
    limiters: dict[str, Limiter]
    shared: Shared
    router: Router
    pools: dict[str, Pool]
    chain: Chain
    active: int = 0
    retired: bool = False
    tracer: Tracer | None = None
    lender: Lender | None = None
    tokens: tuple[TokenSource, ...] = ()

    def finished(self) -> None:
        """A request is done; the last one of a retired configuration lets its connections and plugins go."""
        self.active -= 1
        if self.retired and not self.active:
            self._let_go()

    def retire(self) -> None:
        """This configuration gets no more requests."""
        self.retired = True
        if not self.active:
            self._let_go()

    def _let_go(self) -> None:
        for pool in self.pools.values():
            pool.close()
        for source in self.tokens:
            source.stop()
        _background(self.chain.stop())
        if self.tracer is not None:
            self.tracer.release()


_tasks: set[asyncio.Task[Any]] = set()


def _background(work: Any) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)  # the loop itself keeps only a weak reference
    task.add_done_callback(_tasks.discard)


async def build_runtime(
    settings: Settings,
    *,
    base_dir: Path,
    master_key: str,
    local_socket: str | None,
    resolver: Resolver,
    previous: Runtime | None = None,
    on_failure: OnFailure | None = None,
    registry: Registry | None = None,
    learnt: KeyCache | None = None,
    lender: Lender | None = None,
) -> Runtime:
    """Make a configuration ready and start its plugins. Raises :class:`~gateway.plugin.load.PluginError`,
    :class:`~gateway.dataplane.tracing.TracingError`, ValueError for weights that can't be used, and what plugins raise.

    ``registry`` holds the counters, which go on over a reload, ``learnt`` the credentials that the sidecar told;
    ``lender`` leases more of shared limits. ``on_failure`` hears of each failure of a plugin's hook.
    """
    loop = asyncio.get_running_loop()
    pools = {}
    for provider in settings.providers:
        base_url = provider.base_url or f"unix:{local_socket}"
        pools[provider.name] = Pool(provider, base_url, loop, resolver)
    router = router_from(settings, pools, previous.router if previous is not None else None)
    if router.learned is not None:
        await router.learned.start()
    context = PluginContext(settings.data_dir, settings.redis_url)
    chain = build_chain(settings.plugins, context, base_dir, on_failure)
    tracer = tracer_for(settings.telemetry, previous.tracer if previous is not None else None)
    try:
        await chain.start()
    except BaseException:
        if tracer is not None:
            tracer.release()
        raise
    # Last, because the counters in use take the new limits, which nothing may undo.
    if registry is None:
        registry = previous.shared.registry if previous is not None else Registry()
    shared = Shared(shared_limits(settings), registry)
    credentials, limiters = credentials_from(settings, master_key, registry, learnt)
    tokens = await _begin_tokens(settings, router)
    return Runtime(
        settings, credentials, limiters, shared, router, pools, chain, tracer=tracer, lender=lender, tokens=tokens
    )


async def _begin_tokens(settings: Settings, router: Router) -> tuple[TokenSource, ...]:
    """Have the access tokens that providers want, before the first request does."""
    found = {provider.name: source_for(provider) for provider in settings.providers}
    for target in router.targets().values():
        target.tokens = found[target.provider.name]
    sources = tuple(source for source in found.values() if source is not None)
    await asyncio.gather(*(source.start() for source in sources))
    return sources
