"""How far the ledger is behind the stream, and the nodes behind the stream, in numbers."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from gateway.bus.usage import GROUP, KEPT, NODES, OLDEST, STREAM, behind_of
from gateway.sidecar.ingest import IngestState


async def look(redis: Any, state: IngestState) -> None:
    """Bring the numbers up to date. Raises :class:`redis.exceptions.RedisError`."""
    pipe = redis.pipeline(transaction=False)
    pipe.eval(OLDEST, 1, STREAM)
    pipe.xpending(STREAM, GROUP)
    pipe.xinfo_consumers(STREAM, GROUP)
    pipe.hgetall(NODES)
    oldest, pending, consumers, nodes = await pipe.execute(raise_on_error=False)
    for answer in (oldest, pending, consumers, nodes):
        # Of a stream or a group that is not there yet there is nothing to tell.
        if isinstance(answer, Exception) and not isinstance(answer, ResponseError):
            raise answer
    state.stream_length, age_ms = oldest if isinstance(oldest, list) else (0, 0)
    state.stream_age = max(0, age_ms) / 1000
    state.stream_pending = pending["pending"] if isinstance(pending, dict) else 0
    # What is entered goes at once, so all of the stream was either taken by someone or by nobody yet.
    state.stream_lag = max(0, state.stream_length - state.stream_pending)
    state.consumers = len(consumers) if isinstance(consumers, list) else 0
    await _look_at_nodes(redis, nodes if isinstance(nodes, dict) else {}, state)


async def _look_at_nodes(redis: Any, nodes: dict[bytes, bytes], state: IngestState) -> None:
    now = time.time_ns() // 1_000_000
    lag, age, count = 0, state.stream_age, 0
    for name, told in nodes.items():
        try:
            behind = behind_of(told)
        except msgspec.DecodeError:
            continue
        if now - behind.at_ms > KEPT * 1000:
            await redis.hdel(NODES, name)
            continue
        count += 1
        lag += behind.unsent + behind.sent
        if behind.since_ms is not None:
            age = max(age, (now - behind.since_ms) / 1000)
    state.lag_bytes, state.age, state.nodes = lag, age, count
