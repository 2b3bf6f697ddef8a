"""Live requests go first: a line of a batch waits while there is little room for them.

Room is a provider's, whose queue is empty and which would take a call at once, and that of the limits of a credential:
of what short windows and limits on concurrency allow, a quarter is left to live requests. Nobody waits for ever: after
:data:`PATIENCE` a line goes on as any request does, with little weight.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.kernel.errors import GatewayError

if TYPE_CHECKING:
    from gateway.dataplane.admission.counters import Counter
    from gateway.dataplane.app import Worker
    from gateway.dataplane.auth import Credential

PATIENCE: Final = 30.0
"""Seconds that a line gives way to live requests."""
LEFT: Final = 0.25
"""Of a limit that batches leave to live requests."""
_LOOK: Final = 0.25  # seconds
_SHORT: Final = ("10s", "minute")


async def give_way(worker: Worker, caller: Credential, model: str, endpoint: str, is_over: Callable[[], bool]) -> None:
    """Wait until there is room beside live requests, for a while. ``is_over``: there is nothing left to wait for."""
    until = worker.loop.time() + PATIENCE
    while not is_over() and worker.loop.time() < until and is_crowded(worker, caller, model, endpoint):  # noqa: ASYNC110
        await asyncio.sleep(_LOOK)  # limits and pools tell nobody when they change


def is_crowded(worker: Worker, caller: Credential, model: str, endpoint: str) -> bool:
    """Whether a request for ``model`` would take room that live requests may need."""
    runtime = worker.runtime
    try:
        route = runtime.router.find(model, caller.models)
    except GatewayError:
        return False  # it will be told so as its answer
    targets = route.candidates(endpoint, worker.loop.time())
    if targets and all(target.pool.waiting or not target.has_room for target in targets):
        return True
    now = time.time()
    return any(is_tight(each, now) for each in caller.limiter.for_model(route.name, runtime.shared).all)


def is_tight(counter: Counter, now: float) -> bool:
    """Whether little is left of a limit that comes back soon, at Unix time ``now``."""
    if counter.metric != "concurrency" and counter.window not in _SHORT:
        return False
    if counter.resets_at <= now or not counter.count.taken or (counter.leased and not counter.count.limit):
        return False
    return counter.remaining() <= counter.ceiling * LEFT
