"""CPU of the decision on a request whose credential is held: find it, check and take five limits, tell them, settle."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import AsyncGenerator
from statistics import median

from msgspec import Struct

from benchmarks import procfs
from gateway.bus.policy import Query
from gateway.contract.policy import Change, CredentialPolicy, LimitPolicy, Resolution
from gateway.dataplane.admission.limiter import settle
from gateway.dataplane.admission.registry import Registry, Shared
from gateway.dataplane.auth import Credentials
from gateway.dataplane.credentials import Learnt
from gateway.kernel.secrets import digest_of
from gateway.settings.model import Settings, Sidecar

REQUESTS = 200_000
ROUNDS = 5
WORKING_SET = 10_000
"""Keys that requests draw from: those of the last minutes, however many there are in all."""


class Held(Struct):
    """``us``: CPU microseconds a request; ``bare_us``: those of a credential without limits, which are part of it."""

    keys: int
    held: int
    us: float
    bare_us: float
    bytes_each: float


class Accounts:
    """A policy source that knows ``keys`` credentials; those beyond the limit-free first have five limits each."""

    def __init__(self, limited: bool) -> None:
        self._limited = limited
        self.connected = True

    async def resolve(self, query: Query) -> Resolution:
        """The policy of any credential."""
        identity = query.digest or ""
        limits: tuple[LimitPolicy, ...] = ()
        if self._limited:
            limits = (
                LimitPolicy("key", identity, "requests", 10**12, "minute"),
                LimitPolicy("key", identity, "tokens", 10**12, "day"),
                LimitPolicy("key", identity, "cost", 10**15, "month", source="budget"),
                LimitPolicy("key", identity, "concurrency", 10**6),
                LimitPolicy("organization", "acme", "requests", 10**12, "month", source="plan", name="p"),
            )
        return Resolution(1, CredentialPolicy(identity, "k", "api_key", "acme", limits=limits))

    async def changes(self) -> AsyncGenerator[Change | None, None]:
        """None ever comes."""
        yield None

    async def close(self) -> None:
        """Nothing to close."""


async def measure(keys: int, cache: int) -> Held:
    """The cost with ``keys`` credentials, of which ``cache`` are held at most."""
    before = procfs.parse_rss((procfs.PROC / "self" / "status").read_text())
    learnt, limited = await _round(keys, cache, limited=True)
    after = procfs.parse_rss((procfs.PROC / "self" / "status").read_text())
    held = len(learnt)
    del learnt
    _, bare = await _round(min(keys, WORKING_SET), cache, limited=False)
    return Held(keys, held, limited, bare, (after - before) / held)


async def _round(keys: int, cache: int, *, limited: bool) -> tuple[Learnt, float]:
    registry = Registry()
    learnt = Learnt(Accounts(limited), registry, Settings(sidecar=Sidecar(cache=cache)))
    for number in range(keys):
        await learnt.ask(_secret(number))
    gc.collect()
    gc.freeze()
    recent = range(max(0, keys - min(WORKING_SET, cache)), keys)
    secrets = [_secret(random.choice(recent)) for _ in range(REQUESTS)]
    credentials = Credentials({digest_of(b"static"): await learnt.ask(secrets[0])}, learnt, None)
    return learnt, median(_decide(credentials, secrets, Shared((), registry)) for _ in range(ROUNDS))


def _decide(credentials: Credentials, secrets: list[bytes], shared: Shared) -> float:
    now = time.time()
    begun = time.process_time()
    for secret in secrets:
        caller = credentials.find(secret)
        assert caller is not None
        counters = caller.limiter.for_model("m", shared)
        if counters.all:
            grant = counters.admit(600, 1_000_000, now)
            counters.rate_lines()
        else:
            grant = counters.admit(0, 0, 0.0)
        settle(grant, 176, 90_000)
    return (time.process_time() - begun) / len(secrets) * 1e6


def _secret(number: int) -> bytes:
    return b"gw_live_%043d" % number


def run(sizes: tuple[int, ...], cache: int) -> list[Held]:
    """The cost at each size."""
    return [asyncio.run(measure(size, cache)) for size in sizes]
