"""What workers have written on this machine and no sidecar has confirmed through Redis; needs no database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.bus import usage
from gateway.bus.usage import GROUP, STREAM, Flight, node_key
from gateway.bus.usage_drain import File
from gateway.bus.usage_drainer import connected
from gateway.bus.usage_files import node_of, positions_of, segments
from gateway.bus.usage_journal import settle
from gateway.sidecar.outbox import Pending, pending_of


def pending(folder: Path, redis_url: str) -> tuple[list[Pending], str | None]:
    """What is not confirmed, file by file, and why Redis can't tell what of it is there, where it can't.

    Then all that is not known to be in the ledger is counted as on disk. Reads the files, so that it is exact.
    """
    if not folder.is_dir():
        return [], None
    settle(folder)
    node, found, fault = node_of(folder), segments(folder), None
    flights: list[Flight] = []
    claimed: set[str] = set()
    try:
        with connected(redis_url) as redis:
            flights = usage.flights(_bytes(redis.hgetall(node_key(node))))
            claimed = _claimed(redis, [each.entry for each in flights if each.entry is not None])
    except (RedisError, OSError) as error:
        fault = f"{type(error).__name__}: {error}"
    positions = positions_of(folder).files
    pending = []
    for segment in found:
        file = File(segment, positions.get(segment.name, 0), [each for each in flights if each.file == segment.name])
        under_way = [each for each in file.flights if each.entry is not None and each.end > file.position]
        parts = _merged([*file.gaps(), *((max(each.begin, file.position), each.end) for each in under_way)])
        if parts:
            sent = sum(each.end - each.begin for each in under_way)
            taken = sum(each.end - each.begin for each in under_way if each.entry in claimed)
            pending.append(pending_of(segment, parts, sent, taken))
    return pending, fault


def _merged(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(parts):
        if merged and begin < merged[-1][1]:  # sent twice
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _bytes(answer: Any) -> dict[bytes, bytes]:
    return dict(answer)


def _claimed(redis: Redis, entries: list[str]) -> set[str]:
    """Those of the entries that a consumer holds."""
    pipe: Any = redis.pipeline(transaction=False)
    for id in entries:
        pipe.xpending_range(STREAM, GROUP, id, id, 1)
    # No sidecar has made the group yet: then nobody holds any.
    answers = pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, RedisError) and not isinstance(answer, ResponseError):
            raise answer
    return {id for id, answer in zip(entries, answers, strict=True) if answer and not isinstance(answer, RedisError)}
