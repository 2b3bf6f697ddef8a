"""The files of the workers are read into the ledger, whatever is in them and whoever else reads."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from gateway.bus import usage_files
from gateway.bus.usage_files import Positions, keep_positions, node_of, positions_of, segments
from gateway.contract.usage import UsageEvent
from gateway.dataplane.emit import FileSink
from gateway.domain.ledger.ingest import Batch, Ingested, ingest
from gateway.domain.ledger.model import LedgerEntry, OutboxMark, PoisonEntry
from gateway.domain.ledger.rating import NoPrices, Rater
from gateway.kernel.errors import GatewayError, Kind
from gateway.sidecar import ingest as module
from gateway.sidecar import segments as batching
from gateway.sidecar.ingest import Ingester
from gateway.sidecar.segments import read
from gateway.store.engine import Store
from tests.support.usage import usage_event


async def no_prices() -> NoPrices:
    return NoPrices()


def line(number: int) -> bytes:
    return msgspec.json.encode(usage_event(id=f"req_{number}")) + b"\n"


def append(folder: Path, name: str, *parts: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    with path.open("ab") as file:
        file.write(b"".join(parts))
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.jsonl"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "usage"


async def started(store: Store, folder: Path, keep: float = 300.0) -> Ingester:
    ingester = Ingester(store, folder, no_prices, keep=keep)
    await ingester.start()
    return ingester


async def ids(store: Store) -> list[str]:
    async with store.reading() as session:
        return list(await session.scalars(select(LedgerEntry.id).order_by(LedgerEntry.number)))


async def reasons(store: Store) -> list[str]:
    async with store.reading() as session:
        return list(await session.scalars(select(PoisonEntry.reason).order_by(PoisonEntry.number)))


async def sources(store: Store) -> dict[str, int]:
    async with store.reading() as session:
        return {mark.source.partition("/")[2]: mark.position for mark in await session.scalars(select(OutboxMark))}


async def test_what_a_worker_writes_is_entered(store: Store, folder: Path) -> None:
    sink = FileSink(folder, 3, asyncio.get_running_loop())
    ingester = await started(store, folder)
    assert await ingester.round() is False
    for number in range(3):
        sink.append(usage_event(id=f"req_{number}"), lambda: None)
    sink.flush()
    assert await ingester.round() is True
    assert await ids(store) == ["req_0", "req_1", "req_2"]
    assert (ingester.state.entries, ingester.state.lag_bytes, ingester.state.age) == (3, 0, 0.0)
    assert await ingester.round() is False
    sink.close()


async def test_a_batch_is_entered_while_nothing_else_of_megabytes_is_handled(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    async def noted(store: Store, batch: Batch, rater: Rater) -> Ingested:
        held.append(store.large.locked())
        return await ingest(store, batch, rater)

    monkeypatch.setattr(module, "ingest", noted)
    append(folder, "usage-0-00000001.jsonl", line(1))
    assert await (await started(store, folder)).round()
    assert (held, store.large.locked()) == ([True], False)


async def test_the_next_goes_on_where_the_ledger_ends(store: Store, folder: Path) -> None:
    append(folder, "usage-0-00000001.jsonl", line(1))
    assert await (await started(store, folder)).round()
    append(folder, "usage-0-00000001.jsonl", line(2))
    ingester = await started(store, folder)
    assert await ingester.round()
    assert (ingester.state.entries, ingester.state.known) == (1, 0)
    assert await ids(store) == ["req_1", "req_2"]


async def test_two_that_read_the_same_enter_it_once(store: Store, folder: Path) -> None:
    append(folder, "usage-0-00000001.jsonl", *map(line, range(30)))
    both = [await started(store, folder) for _ in range(2)]
    await asyncio.gather(*(each.round() for each in both))
    for each in both:
        while await each.round():
            pass
    assert sorted(await ids(store)) == sorted(f"req_{n}" for n in range(30))
    assert sum(each.state.entries for each in both) == 30


async def test_a_line_that_is_still_written_waits(store: Store, folder: Path) -> None:
    path = append(folder, "usage-0-00000001.jsonl", line(1), line(2)[:20])
    ingester = await started(store, folder)
    assert await ingester.round()
    assert await ids(store) == ["req_1"]
    assert await ingester.round() is False
    assert ingester.state.lag_bytes == 20
    append(folder, path.name, line(2)[20:])
    assert await ingester.round()
    assert await ids(store) == ["req_1", "req_2"]


async def test_a_line_that_was_torn_is_set_aside(store: Store, folder: Path) -> None:
    append(folder, "usage-0-00000001.jsonl", line(1)[:20], b"\n", line(2), line(3)[:20])
    append(folder, "usage-0-00000002.jsonl", line(4))
    ingester = await started(store, folder)
    while await ingester.round():
        pass
    assert await ids(store) == ["req_2", "req_4"]
    first, second = await reasons(store)
    assert "truncated" in first
    assert second == "the file ends within the line"
    assert ingester.state.poison == 2


async def test_a_line_that_is_too_long_is_set_aside(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_files, "READ", 1_000)
    append(folder, "usage-0-00000001.jsonl", line(1), b"x" * 3_500 + b"\n", line(2))
    ingester = await started(store, folder)
    while await ingester.round():
        pass
    assert await ids(store) == ["req_1", "req_2"]
    assert await reasons(store) == ["the line has 3501 bytes, more than 1000"]


async def test_batches_have_a_bound(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_files, "LINES", 4)
    monkeypatch.setattr(batching, "MOST", 4)
    path = append(folder, "usage-0-00000001.jsonl", b"\n", *map(line, range(10)), b"\n")
    (segment,) = segments(folder)
    batches = read(segment, "s", 0)
    assert [len(batch.lines) for batch in batches] == [3, 4, 3]
    assert [batch.begin for batch in batches[1:]] == [batch.end for batch in batches[:-1]]
    assert (batches[0].begin, batches[-1].end) == (0, path.stat().st_size)
    monkeypatch.setattr(batching, "MOST", 8)
    joined = read(segment, "s", 0)
    assert [(len(batch.lines), batch.begin, batch.end) for batch in joined] == [
        (7, 0, batches[1].end), (3, batches[1].end, path.stat().st_size),
    ]  # fmt: skip
    ingester = await started(store, folder)
    await ingester.round()
    assert len(await ids(store)) == 10


async def test_a_file_goes_when_it_is_entered_and_another_is_written(store: Store, folder: Path) -> None:
    names = [f"usage-0-{number:08d}.jsonl" for number in (1, 2, 3)]
    for number, name in enumerate(names):
        append(folder, name, line(number))
    os.utime(folder / names[0], (1, 1))
    os.utime(folder / names[2], (1, 1))
    ingester = await started(store, folder)
    await ingester.round()
    # The second was written just now, the third is the one its worker writes.
    assert files(folder) == names[1:]
    assert sorted(await sources(store)) == names[1:]
    assert len(await ids(store)) == 3


async def test_nothing_goes_that_is_not_entered(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise GatewayError(Kind.UNAVAILABLE, "database_unavailable", "away")

    for number in (1, 2):
        append(folder, f"usage-0-{number:08d}.jsonl", line(number))
        os.utime(folder / f"usage-0-{number:08d}.jsonl", (1, 1))
    ingester = await started(store, folder, keep=0)
    monkeypatch.setattr(module, "ingest", away)
    with pytest.raises(GatewayError):
        await ingester.round()
    assert len(files(folder)) == 2


async def test_a_file_that_was_replaced_is_read_anew(store: Store, folder: Path) -> None:
    path = append(folder, "usage-0-00000001.jsonl", line(1), line(2))
    ingester = await started(store, folder)
    await ingester.round()
    path.write_bytes(line(2))
    assert await ingester.round()
    append(folder, path.name, line(3))
    assert await ingester.round()
    assert await ids(store) == ["req_1", "req_2", "req_3"]
    assert ingester.state.known == 1


async def test_marks_of_files_that_are_no_more_go(store: Store, folder: Path) -> None:
    path = append(folder, "usage-0-00000001.jsonl", line(1))
    ingester = await started(store, folder)
    await ingester.round()
    path.unlink()
    await ingester.round()
    assert await sources(store) == {}


async def test_directories_have_names_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert node_of(tmp_path / "a") == node_of(tmp_path / "a")
    assert node_of(tmp_path / "a") != node_of(tmp_path / "b")


async def test_it_goes_on_when_the_database_is_back(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Batch] = []
    entered = asyncio.Event()

    async def away_twice(given: Store, batch: Batch, rater: Rater) -> Ingested:
        if len(failures) < 2:
            failures.append(batch)
            raise GatewayError(Kind.UNAVAILABLE, "database_unavailable", "away")
        done = await ingest(given, batch, rater)
        entered.set()
        return done

    monkeypatch.setattr(module, "ingest", away_twice)
    append(folder, "usage-0-00000001.jsonl", line(1))
    async with Ingester(store, folder, no_prices), asyncio.timeout(40):
        await entered.wait()
    assert await ids(store) == ["req_1"]
    assert len(failures) == 2


def test_an_event_of_the_contract_is_what_is_read() -> None:
    assert msgspec.json.decode(line(1), type=UsageEvent).id == "req_1"


async def test_positions_whose_writing_was_broken_off_are_written_at_the_end(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, let = threading.Event(), threading.Event()

    def write(*what: Any) -> None:
        if begun.is_set():
            keep_positions(*what)
        else:
            begun.set()  # and nothing is written, as by a thread that was never started
            let.wait(30)

    monkeypatch.setattr(module, "keep_positions", write)
    path = append(folder, "usage-0-00000001.jsonl", line(1))
    async with Ingester(store, folder, no_prices):
        assert await asyncio.to_thread(begun.wait, 30)
    let.set()
    assert positions_of(folder) == Positions("files", {path.name: path.stat().st_size})
