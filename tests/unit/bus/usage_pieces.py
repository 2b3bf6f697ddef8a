"""What the tests of usage in Redis share: files as workers write them, and a ledger that is a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from redis import Redis

from gateway.bus import usage
from gateway.bus.usage import STREAM, Piece
from gateway.bus.usage_drain import Drain
from tests.support.usage import usage_event

FILE = "usage-0-00000001.jsonl"


def line(number: int, **changes: Any) -> bytes:
    """An event as it is in a file."""
    return msgspec.json.encode(usage_event(id=f"req_{number}", **changes)) + b"\n"


def append(folder: Path, name: str, *parts: bytes) -> Path:
    """Write at the end of a file, as a worker does."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    with path.open("ab") as file:
        file.write(b"".join(parts))
    return path


def in_stream(redis: Redis) -> list[tuple[str, str, Piece]]:
    """The entries: id, source, piece."""
    found: Any = redis.xrange(STREAM)
    return [(id.decode(), *usage.received(fields)) for id, fields in found]


def enter(redis: Redis, ledger: list[bytes], *, last_first: bool = False, most: int = 1_000) -> None:
    """Enter what is in the stream, as a sidecar does."""
    entries = in_stream(redis)
    for id, source, piece in (entries[::-1] if last_first else entries)[:most]:
        ledger += piece.data.splitlines()
        pipe: Any = redis.pipeline(transaction=False)
        usage.entered(pipe, id, source, piece)
        pipe.execute()


def fields(redis: Redis, drain: Drain) -> dict[bytes, bytes]:
    """What Redis tells of a node."""
    found: Any = redis.hgetall(usage.node_key(drain.node))
    return dict(found)
