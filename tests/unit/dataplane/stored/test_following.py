"""The events of a Response in the background, for who is there and who comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.dataplane.stored import following
from gateway.dataplane.stored.following import Log, follow
from gateway.dataplane.stored.records import Record
from gateway.dataplane.stored.store import Store
from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.sse import data_of, split_events

QUEUED = {"id": "resp_1", "status": "queued", "output": []}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(tmp_path / "responses.sqlite", 86_400.0, 1_048_576)
    yield made
    await made.close()


@pytest.fixture
async def log(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Log]:
    """One that has begun, as a worker begins it."""
    monkeypatch.setattr(following, "PAUSE", 0.01)
    made = Log(store, "acme", QUEUED)
    now = time.time()
    record = Record("resp_1", int(now), "in_progress", orjson.dumps(QUEUED), b"[]", (), now + 600)
    await store.put("acme", record, made.writes())
    yield made
    made.close()


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, "sequence_number": 7, **fields}))


def numbers(told: bytes) -> list[int]:
    return [orjson.loads(data_of(each) or b"")["sequence_number"] for each in split_events(told)]


async def all_of(store: Store, log: Log | None, after: int = -1) -> list[int]:
    async with asyncio.timeout(30):
        return [number async for told in follow(store, "acme", "resp_1", after, log) for number in numbers(told)]


async def end(store: Store, log: Log) -> None:
    log.tell("response.completed", {"response": QUEUED})
    await store.change(*log.writes())
    await store.end("acme", "resp_1", "completed", orjson.dumps(QUEUED))
    log.close()


async def test_here_and_elsewhere_the_same_is_followed(store: Store, log: Log) -> None:
    here, elsewhere = (asyncio.create_task(all_of(store, each)) for each in (log, None))
    log.feed(HEAD[:20])
    log.feed(HEAD[20:] + event("response.created"))  # which was told already
    for n in range(100):
        log.feed(event("response.output_text.delta", delta=str(n)) * 2)
        await asyncio.sleep(0)
    await end(store, log)
    log.feed(event("response.output_text.delta", delta="late"))
    assert await here == await elsewhere == list(range(203))
    assert await all_of(store, None, 200) == [201, 202]
    assert await all_of(store, log, 202) == []


async def test_what_is_not_at_hand_any_more_is_read_in_the_store(
    store: Store, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "KEPT", 1_000)
    log.feed(HEAD)
    for n in range(50):
        log.feed(event("response.output_text.delta", delta=str(n)))
        await store.change(*log.writes())
    assert log.base > 20
    await end(store, log)
    assert await all_of(store, log) == list(range(53))


async def test_a_store_that_can_not_be_written_is_tried_again(
    store: Store, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, failures = store.change, [GatewayError(Kind.UNAVAILABLE, "x", "x")] * 3

    async def failing(*writes: Any) -> int:
        if failures:
            raise failures.pop()
        return await change(*writes)

    monkeypatch.setattr(store, "change", failing)
    log.feed(HEAD + event("response.output_text.delta", delta="x"))
    async with asyncio.timeout(30):
        while not await store.events("acme", "resp_1", 1):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert failures == []


async def test_events_go_with_their_response(store: Store, log: Log) -> None:
    await end(store, log)
    assert await store.events("other", "resp_1", -1) == []
    assert await store.remove("other", "resp_1") is False
    assert await store.events("acme", "resp_1", -1) != []
    assert await store.remove("acme", "resp_1")
    assert await store.events("acme", "resp_1", -1) == []


def test_an_answer_that_is_no_stream_has_no_events(tmp_path: Path) -> None:
    log = Log(Store(tmp_path / "none", 1.0, 1), "acme", QUEUED)
    log.feed(b'HTTP/1.1 502 Bad Gateway\r\ncontent-type: application/json\r\n\r\n{"error":{}}')
    assert log.next == 2
