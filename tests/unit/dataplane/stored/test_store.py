"""Kept Responses: found by their organisation alone, gone in time, shared by the workers of a machine."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from gateway.dataplane.stored import store as stores
from gateway.dataplane.stored.conversations import Conversation, Write, adding, creating
from gateway.dataplane.stored.records import Record, with_ids
from gateway.dataplane.stored.store import Store
from gateway.kernel.errors import GatewayError, Kind

DAY = 86_400.0
NOW = 1_800_000_000


def record(response_id: str, *, created: int = NOW, status: str = "completed", size: int = 1, **more: float) -> Record:
    """A Response that says ``size`` letters."""
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x" * size}]}
    response = {"id": response_id, "status": status, "output": [said]}
    items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
    encode = msgspec.json.encode
    return Record(response_id, created, status, encode(response), encode(items), ("resp_0",), more.get("until", 0.0))


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.dataplane.stored.database.time.time", lambda: NOW + 1.0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store that keeps for a day, and at most 1 MiB."""
    made = Store(tmp_path / "responses.sqlite", DAY, 1_048_576)
    yield made
    await made.close()


async def test_what_is_kept_is_found(store: Store, tmp_path: Path) -> None:
    await store.put("acme", record("resp_1"))
    assert await store.find("acme", "resp_1") == record("resp_1")
    assert await store.find("acme", "resp_2") is None
    assert (await store.find_all("acme", ["resp_2", "resp_1"])).keys() == {"resp_1"}
    assert await store.find_all("acme", []) == {}
    assert stat.S_IMODE((tmp_path / "responses.sqlite").stat().st_mode) == 0o600
    assert [item["role"] for item in record("resp_1").said()] == ["user", "assistant"]


async def test_an_organisation_has_nothing_of_anothers(store: Store) -> None:
    await store.put("acme", record("resp_1", status="in_progress"))
    assert await store.find("other", "resp_1") is None
    assert await store.find_all("other", ["resp_1"]) == {}
    assert not await store.remove("other", "resp_1")
    assert not await store.end("other", "resp_1", "completed", b"{}")
    assert not await store.live("other", "resp_1", NOW)
    assert await store.find("acme", "resp_1") == record("resp_1", status="in_progress")
    await store.put("other", record("resp_1", size=2))  # the same id is another Response
    assert await store.find("acme", "resp_1") == record("resp_1", status="in_progress")


async def test_what_is_removed_is_gone(store: Store) -> None:
    await store.put("acme", record("resp_1"))
    assert await store.remove("acme", "resp_1")
    assert not await store.remove("acme", "resp_1")
    assert await store.find("acme", "resp_1") is None


async def test_one_in_the_background_ends_once(store: Store) -> None:
    await store.put("acme", record("resp_1", status="queued"))
    assert await store.live("acme", "resp_1", NOW + 30)
    assert await store.end("acme", "resp_1", "cancelled", b'{"status":"cancelled"}')
    assert not await store.end("acme", "resp_1", "completed", b'{"status":"completed"}')
    assert not await store.live("acme", "resp_1", NOW + 60)
    found = await store.find("acme", "resp_1")
    assert found is not None
    assert (found.status, found.response, found.alive_until) == ("cancelled", b'{"status":"cancelled"}', NOW + 30)


async def test_one_that_was_removed_does_not_come_back(store: Store) -> None:
    await store.put("acme", record("resp_1", status="in_progress"))
    await store.remove("acme", "resp_1")
    assert not await store.end("acme", "resp_1", "completed", b"{}")
    assert await store.find("acme", "resp_1") is None


def test_one_whose_worker_is_gone_has_failed() -> None:
    running = record("resp_1", status="in_progress", until=NOW + 10)
    assert running.shown(NOW)["status"] == "in_progress"
    lost = running.shown(NOW + 11)
    assert lost["status"] == "failed"
    assert lost["error"]["code"] == "server_error"
    assert record("resp_1").shown(NOW + 11)["status"] == "completed"


async def test_what_is_too_old_is_gone(store: Store) -> None:
    await store.put("acme", record("resp_old", created=NOW - int(DAY)))
    await store.put("acme", record("resp_new"))
    assert await store.find("acme", "resp_old") is None
    assert await store.sweep() == 1
    assert await store.find("acme", "resp_new") is not None


async def test_the_oldest_make_room(store: Store) -> None:
    for i in range(300):
        await store.put("acme", record(f"resp_{i}", created=NOW - 300 + i, size=10_000))
    assert await store.sweep() >= 200
    assert await store.find("acme", "resp_0") is None
    assert await store.find("acme", "resp_299") is not None
    assert await store.sweep() == 0


async def test_no_organization_pushes_out_what_another_keeps(store: Store) -> None:
    for i in range(20):
        await store.put("small", record(f"resp_{i}", created=NOW - 900 + i, size=10_000))
    kept = Conversation("conv_0", NOW - 900, NOW - 900, b"{}")
    item = {"type": "message", "id": "msg_1", "role": "user", "content": "x" * 60_000}
    await store.change(creating("small", kept), *adding("small", kept.id, [item], kept.changed))
    for i in range(300):
        await store.put("large", record(f"resp_{i}", created=NOW - 300 + i, size=10_000))
    assert await store.sweep() >= 200
    assert len(await store.find_all("small", [f"resp_{i}" for i in range(20)])) == 20
    assert await store.conversation("small", "conv_0") is not None
    assert await store.find("large", "resp_0") is None
    assert await store.find("large", "resp_299") is not None


async def test_two_that_take_the_same_give_the_same(store: Store) -> None:
    for i in range(300):
        await store.put(f"org_{i % 2}", record(f"resp_{i}", created=NOW - 300 + i, size=10_000))
    await store.sweep()
    left = [len(await store.find_all(f"org_{n}", [f"resp_{i}" for i in range(300)])) for n in (0, 1)]
    assert min(left) > 0
    assert abs(left[0] - left[1]) <= 10


async def test_workers_share_what_is_kept(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "responses.sqlite", DAY, 1_048_576)
    try:
        await asyncio.gather(
            *(each.put("acme", record(f"resp_{each is store}{i}")) for each in (store, other) for i in range(50))
        )
        ids = [f"resp_{which}{i}" for which in (True, False) for i in range(50)]
        assert (await store.find_all("acme", ids)).keys() == set(ids)
        assert (await other.find_all("acme", ids)).keys() == set(ids)
    finally:
        await other.close()


async def test_writes_that_come_together_are_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    change = Store._change

    def counting(self: Store, taken: list[Sequence[Write]], sweeps: bool) -> list[int]:
        written.append(len(taken))
        return change(self, taken, sweeps)

    monkeypatch.setattr(Store, "_change", counting)
    await asyncio.gather(*(store.put("acme", record(f"resp_{i}")) for i in range(20)))
    assert sum(written) == 20
    assert len(written) <= 2


async def test_too_many_writes_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MOST_WAITING", 2)
    made = await asyncio.gather(*(store.put("acme", record(f"resp_{i}")) for i in range(4)), return_exceptions=True)
    refused = [each for each in made if isinstance(each, GatewayError)]
    assert len(refused) == 2
    assert refused[0].kind is Kind.UNAVAILABLE


async def test_too_many_bytes_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MOST_BYTES", 5_000)
    writes = (store.put("acme", record(f"resp_{i}", size=2_000)) for i in range(4))
    made = await asyncio.gather(*writes, return_exceptions=True)
    assert [isinstance(each, GatewayError) for each in made] == [False, False, True, True]
    await store.put("acme", record("resp_large", size=10_000))  # one alone is written, however large


async def test_conversations_are_kept_and_go(store: Store) -> None:
    items = [{"type": "message", "id": f"msg_{i}", "role": "user", "content": str(i)} for i in range(3)]
    for name, changed in (("conv_old", NOW - int(DAY)), ("conv_new", NOW)):
        made = Conversation(name, changed, changed, b"{}")
        await store.change(creating("acme", made), *adding("acme", name, items, changed))
    assert await store.conversation("acme", "conv_old") is None
    assert await store.conversation("other", "conv_new") is None
    assert await store.items("other", "conv_new") == []
    assert await store.sweep() == 1
    assert await store.items("acme", "conv_old") == []
    assert await store.items("acme", "conv_new") == items
    assert await store.change(*adding("acme", "conv_old", items, NOW)) == 0
    assert await store.items("acme", "conv_old") == []


async def test_conversations_make_room_after_responses(store: Store) -> None:
    for i in range(60):
        made = Conversation(f"conv_{i}", NOW - 60 + i, NOW - 60 + i, b"{}")
        item = {"type": "message", "id": "msg_1", "role": "user", "content": "x" * 60_000}
        await store.change(creating("acme", made), *adding("acme", made.id, [item], made.changed))
    await store.put("acme", record("resp_1"))
    await store.sweep()
    assert await store.find("acme", "resp_1") is None
    assert await store.conversation("acme", "conv_0") is None
    assert await store.conversation("acme", "conv_59") is not None


async def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    path.write_bytes(b"This is no database. " * 100)
    store = Store(path, DAY, 1_048_576)
    for attempt in (store.put("acme", record("resp_1")), store.find("acme", "resp_1")):
        with pytest.raises(GatewayError) as raised:
            await attempt
        assert raised.value.code == "store_unavailable"
    await store.close()


async def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    store = Store(path, DAY, 1_048_576)
    with pytest.raises(GatewayError):
        await store.put("acme", record("resp_1"))
    await store.close()


async def test_a_sweep_comes_by_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "SWEEP", 0.01)
    swept = asyncio.Event()
    sweep = Store.sweep

    async def noting(self: Store) -> int:
        removed = await sweep(self)
        if removed:
            swept.set()
        return removed

    monkeypatch.setattr(Store, "sweep", noting)
    store._next_sweep = float("inf")  # of writes: only the timer is to sweep
    await store.put("acme", record("resp_old", created=NOW - int(DAY)))
    store._next_sweep = 0.0
    async with asyncio.timeout(30):
        await swept.wait()


def test_input_items_get_what_a_list_of_them_shows() -> None:
    given = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Ho"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc_1"},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
    ]
    kept = with_ids(given, "ab" * 24)
    assert [item["type"] for item in kept] == ["message", "message", "function_call", "function_call_output"]
    assert kept[0]["content"] == [{"type": "input_text", "text": "Hi"}]
    assert kept[1]["content"] == [{"type": "output_text", "text": "Ho", "annotations": []}]
    assert kept[2]["id"] == "fc_1"
    assert len({item["id"] for item in kept}) == 4
    assert "content" not in given[3]
