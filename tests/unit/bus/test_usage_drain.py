"""Files go to a real Redis in pieces, and from the disk when they are entered, whatever is lost on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from gateway.bus import usage, usage_drain, usage_files
from gateway.bus.usage import NODES, STREAM, Behind, Piece, behind_of, node_key
from gateway.bus.usage_drain import Drain
from gateway.bus.usage_files import keep_positions, positions_of
from tests.support.redis_server import RedisServer, running_redis
from tests.unit.bus.usage_pieces import FILE, append, enter, fields, in_stream, line


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(server.url, protocol=2) as client:
        client.flushall()
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "usage"


def drain_of(folder: Path, redis: Redis, keep: float = 300.0) -> Drain:
    drain = Drain(folder, redis, keep=keep)
    drain.round()
    return drain


def test_what_is_written_is_sent_once_and_then_confirmed(folder: Path, redis: Redis) -> None:
    path = append(folder, FILE, line(1), line(2), line(3)[:30])
    drain = drain_of(folder, redis)
    ((_, source, piece),) = in_stream(redis)
    assert source == f"{drain.node}/{FILE}"
    assert (piece.begin, piece.end) == (0, len(line(1) + line(2)))
    assert piece.data == line(1) + line(2)
    assert drain.round() is False
    append(folder, FILE, line(3)[30:])
    drain.round()
    assert [piece.data for *_, piece in in_stream(redis)] == [line(1) + line(2), line(3)]
    assert drain.positions == {FILE: 0}
    ledger: list[bytes] = []
    enter(redis, ledger)
    drain.round()
    assert drain.positions == {FILE: path.stat().st_size}
    assert drain.is_over
    drain.settle()
    assert fields(redis, drain) == {}
    assert positions_of(folder).files == drain.positions
    assert ledger == [line(n).strip() for n in (1, 2, 3)]


def test_pieces_have_a_bound(folder: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_drain, "PIECE", 2_000)
    monkeypatch.setattr(usage_files, "LINES", 3)
    append(folder, FILE, *map(line, range(10)), b"\n" * 5, b"x" * 2_500 + b"\n", line(10))
    drain_of(folder, redis)
    found = [piece for *_, piece in in_stream(redis)]
    assert b"".join(piece.data for piece in found) == (folder / FILE).read_bytes()
    assert all(piece.data.endswith(b"\n") for piece in found)
    assert max(piece.data.count(b"\n") for piece in found) == 3
    assert [len(piece.data) for piece in found if len(piece.data) > 2_000] == [2_501]


def test_lines_that_can_be_none_are_told_as_such(folder: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_files, "READ", 1_000)
    append(folder, FILE, b"x" * 3_500 + b"\n", line(1), line(2)[:20])
    append(folder, "usage-0-00000002.jsonl", line(3)[:20])
    drain = drain_of(folder, redis)
    while drain.unsent > 20:
        drain.round()
    found = {piece.begin: piece.fault for _, source, piece in in_stream(redis) if source.endswith(FILE)}
    at = 3_501 + len(line(1))
    assert found == {0: "the line has 3501 bytes, more than 1000", 3_501: None, at: "the file ends within the line"}
    assert not [source for _, source, _ in in_stream(redis) if not source.endswith(FILE)]


def test_what_is_in_redis_has_a_bound(folder: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_drain, "IN_FLIGHT", 5_000)
    monkeypatch.setattr(usage_drain, "PIECE", 1_000)
    path = append(folder, FILE, *map(line, range(100)))
    drain = drain_of(folder, redis)
    for _ in range(5):
        assert drain.round() is False
    held = sum(len(piece.data) for *_, piece in in_stream(redis))
    assert 5_000 <= held < 6_000
    assert drain.unsent == path.stat().st_size - held
    ledger: list[bytes] = []
    while not drain.is_over:
        enter(redis, ledger)
        drain.round()
    assert ledger == [line(n).strip() for n in range(100)]


def test_small_pieces_have_a_bound(folder: Path, redis: Redis) -> None:
    drain = drain_of(folder, redis)
    for number in range(20):
        append(folder, FILE, line(number))
        drain.round()
    assert len(in_stream(redis)) == usage_drain.SMALL
    ledger: list[bytes] = []
    while not drain.is_over:
        enter(redis, ledger)
        drain.round()
    assert ledger == [line(n).strip() for n in range(20)]


def test_out_of_order(folder: Path, redis: Redis) -> None:
    drain = drain_of(folder, redis)
    for number in range(4):
        append(folder, FILE, line(number))
        drain.round()
    ledger: list[bytes] = []
    enter(redis, ledger, last_first=True, most=3)
    drain.round()
    assert drain.positions == {FILE: 0}
    enter(redis, ledger)
    drain.round()
    assert drain.is_over
    assert len(ledger) == 4


@pytest.mark.parametrize("lost", ["all", "stream", "node"])
def test_what_redis_loses_is_sent_again(folder: Path, redis: Redis, lost: str) -> None:
    drain = drain_of(folder, redis)
    for number in range(5):
        append(folder, FILE, line(number))
        drain.round()
    ledger: list[bytes] = []
    enter(redis, ledger, most=2)
    held = in_stream(redis)
    if lost == "all":
        redis.flushall()
    else:
        redis.delete(STREAM if lost == "stream" else node_key(drain.node))
    append(folder, FILE, line(5))
    for _ in range(3):
        drain.round()
        drain.settle()
    # Who had read an entry before tells of it all the same; it is not taken for one of now.
    pipe: Any = redis.pipeline(transaction=False)
    usage.entered(pipe, *held[0])
    pipe.execute()
    while not drain.is_over:
        enter(redis, ledger)
        drain.round()
    assert set(ledger) == {line(n).strip() for n in range(6)}


@pytest.mark.parametrize("lost", [True, False])
def test_an_id_never_comes_again(redis: Redis, lost: bool) -> None:
    pieces = [Piece(begin, begin + 10, line(begin)) for begin in range(0, 2_000, 10)]
    pipe: Any = redis.pipeline(transaction=False)  # all of it is done within a few milliseconds
    for piece in pieces:
        usage.send(pipe, "one", FILE, piece)
        if lost:
            pipe.delete(STREAM)
    ids = pipe.execute()[:: 1 + lost]
    assert len(set(ids)) == len(pieces)
    # Who has read what was lost tells of it: what there is now stays.
    usage.send(redis, "one", FILE, pieces[0])
    now = in_stream(redis)
    for id, piece in zip(ids[:-1], pieces, strict=False) if lost else ():
        usage.entered(redis, id, f"one/{FILE}", piece)
    assert in_stream(redis) == now


def test_a_clock_that_went_back_repeats_no_id(redis: Redis) -> None:
    ahead = 4_000_000_000_000  # milliseconds: another server's clock said so before
    redis.xadd(STREAM, {"d": "x"}, id=f"{ahead}-5")
    for begin in (0, 10):
        usage.send(redis, "one", FILE, Piece(begin, begin + 10, line(1)))
    entries: Any = redis.xrange(STREAM)
    ids = [id for id, *_ in entries[1:]]
    assert [int(id.partition(b"-")[0]) - ahead for id in ids] == [1, 2]
    assert all(int(id.partition(b"-")[2]) > 2 for id in ids), "Redis' own count would come again"


def test_another_goes_on_where_one_was_killed(folder: Path, redis: Redis) -> None:
    first = drain_of(folder, redis)
    for number in range(4):
        append(folder, FILE, line(number))
        first.round()
    ledger: list[bytes] = []
    enter(redis, ledger, most=2)
    second = drain_of(folder, redis)
    assert second.node == first.node
    assert len(in_stream(redis)) == 2  # nothing was sent twice
    enter(redis, ledger)
    second.round()
    assert second.is_over
    assert ledger == [line(n).strip() for n in range(4)]


def test_positions_that_are_lost_only_send_again(folder: Path, redis: Redis) -> None:
    append(folder, FILE, line(1))
    ledger: list[bytes] = []
    drain = drain_of(folder, redis)
    enter(redis, ledger)
    drain.round()
    drain.settle()
    (folder / "entered.json").write_text("torn{")
    again = drain_of(folder, redis)
    enter(redis, ledger)
    again.round()
    assert again.is_over
    assert ledger == [line(1).strip()] * 2


def test_it_begins_where_the_ledger_was_before_there_was_redis(folder: Path, redis: Redis) -> None:
    append(folder, FILE, line(1), line(2))
    keep_positions(folder, "files", {FILE: len(line(1))})
    drain_of(folder, redis)
    assert [piece.data for *_, piece in in_stream(redis)] == [line(2)]


def test_nothing_is_dropped_in_redis_before_the_disk_has_it(
    folder: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    append(folder, FILE, line(1))
    drain = drain_of(folder, redis)
    enter(redis, [])
    monkeypatch.setattr(usage_drain, "keep_positions", full)
    for _ in range(2):
        drain.round()
        drain.settle()
    assert drain.is_over
    assert list(fields(redis, drain).values()) == [b"+"]
    assert [record.message for record in caplog.records] == ["how far the ledger is can't be kept"]
    monkeypatch.undo()
    drain.settle()
    assert fields(redis, drain) == {}


def test_files_go_when_they_are_entered_and_another_is_written(folder: Path, redis: Redis) -> None:
    names = [f"usage-0-{number:08d}.jsonl" for number in (1, 2, 3, 4)]
    for number, name in enumerate(names):
        append(folder, name, line(number))
        os.utime(folder / name, (1, 1))
    drain = drain_of(folder, redis)
    drain.settle()
    assert sorted(path.name for path in folder.glob("*.jsonl")) == names
    ledger: list[bytes] = []
    enter(redis, ledger, most=1)
    enter(redis, ledger, last_first=True, most=2)
    os.utime(folder / names[2], None)  # written just now
    drain.round()
    drain.settle()
    assert sorted(path.name for path in folder.glob("*.jsonl")) == names[1:]
    drain.round()
    assert sorted(drain.positions) == names[1:]


def test_a_file_that_is_gone_is_forgotten(folder: Path, redis: Redis) -> None:
    path = append(folder, FILE, line(1))
    drain = drain_of(folder, redis)
    path.unlink()
    drain.round()
    drain.settle()
    assert len(fields(redis, drain)) == 1  # it is still on its way
    enter(redis, [])
    drain.round()
    drain.settle()
    assert fields(redis, drain) == {}
    assert drain.positions == {}


@pytest.mark.parametrize("when", ["under way", "entered"])
def test_a_file_that_was_replaced_is_sent_anew(folder: Path, redis: Redis, when: str) -> None:
    path = append(folder, FILE, line(1), line(2))
    drain = drain_of(folder, redis)
    ledger: list[bytes] = []
    if when == "entered":
        enter(redis, ledger)
        drain.round()
    path.write_bytes(line(3))
    drain.round()
    enter(redis, ledger)
    append(folder, FILE, line(4), line(5))
    while not drain.is_over:
        drain.round()
        enter(redis, ledger)
    assert ledger == [line(n).strip() for n in (1, 2, 3, 4, 5)]


def test_how_much_is_behind_is_told(folder: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_drain, "IN_FLIGHT", 500)
    monkeypatch.setattr(usage_drain, "PIECE", 500)
    size = append(folder, FILE, *map(line, range(10))).stat().st_size
    drain = drain_of(folder, redis)

    def told() -> Behind:
        found: Any = redis.hget(NODES, drain.node)
        return behind_of(found)

    sent = sum(len(piece.data) for *_, piece in in_stream(redis))
    assert told().unsent == size - sent
    assert told().since_ms is not None
    drain.round()
    drain.settle()
    assert told().sent == sent
    while not drain.is_over:
        enter(redis, [])
        drain.round()
    drain.settle()
    assert (told().unsent, told().sent, told().since_ms) == (0, 0, None)


def test_redis_is_left_alone_while_nothing_happens(folder: Path, redis: Redis) -> None:
    append(folder, FILE, line(1))
    drain = drain_of(folder, redis)
    enter(redis, [])
    drain.round()
    drain.settle()
    drain.round()
    redis.config_resetstat()
    for _ in range(5):
        drain.round()
    stats: Any = redis.info("commandstats")
    assert set(stats) <= {"cmdstat_config|resetstat", "cmdstat_config"}
    append(folder, FILE, line(2))
    drain.round()
    assert len(in_stream(redis)) == 1


def test_fields_of_others_are_passed_over() -> None:
    told = {b"a:0:5": b"1-0", b"a:b:5": b"1-0", b"nothing": b"+", b"a:5:9": b"+", b"a:9:10": b"x", b"\xff:1:2": b"+"}
    assert [(each.begin, each.entry) for each in usage.flights(told)] == [(0, "1-0"), (5, None)]
    assert [each.field for each in usage.flights(told)] == ["a:0:5", "a:5:9"]


@pytest.mark.parametrize("fields", [{}, {b"s": b"n/f"}, {b"s": b"nothing", b"b": b"0", b"e": b"1", b"d": b""},
    {b"s": b"n/f", b"b": b"1", b"e": b"1", b"d": b""}, {b"s": b"n/f", b"b": b"x", b"e": b"1", b"d": b""},
    {b"s": b"\xff/f", b"b": b"0", b"e": b"1", b"d": b""}])  # fmt: skip
def test_an_entry_that_is_none_of_ours(fields: dict[bytes, bytes]) -> None:
    with pytest.raises(ValueError):
        usage.received(fields)


@settings(max_examples=60)
@given(
    text=st.lists(st.binary(max_size=30).map(lambda part: part.replace(b"\n", b"")), max_size=20),
    size=st.integers(1, 60),
    lines=st.integers(1, 5),
)
def test_pieces_are_the_file(
    tmp_path_factory: pytest.TempPathFactory, text: list[bytes], size: int, lines: int
) -> None:
    folder = tmp_path_factory.mktemp("usage")
    path = append(folder, FILE, b"\n".join(text))
    (segment,) = usage_files.segments(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(usage_files, "LINES", lines)
        found = usage_files.pieces(segment, 0, size=size)
        older = usage_files.pieces(msgspec.structs.replace(segment, newest=False), 0, size=size)
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    assert b"".join(piece.data for piece in found) == whole
    assert b"".join(piece.data for piece in older) == data
    for before, piece in zip([None, *found], found, strict=False):
        assert piece.begin == (0 if before is None else before.end)
        assert piece.data.count(b"\n") <= lines
        assert len(piece.data) <= size or piece.data.count(b"\n") == 1
    assert [piece.fault for piece in older[len(found) :]] == ["the file ends within the line"] * (data != whole)
