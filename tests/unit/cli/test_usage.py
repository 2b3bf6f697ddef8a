"""``gateway usage``: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from redis import Redis

from gateway.bus.usage import GROUP, STREAM
from gateway.bus.usage_drain import Drain
from gateway.bus.usage_files import keep_positions
from gateway.cli.main import cli
from gateway.contract.usage import UsageEvent
from gateway.domain.ledger.rating import NoPrices
from gateway.domain.ledger.verification import Verified, verify
from gateway.domain.work import Work
from gateway.sidecar.ingest import Ingester
from gateway.store.engine import Store
from tests.support.redis_server import RedisServer, running_redis
from tests.support.usage import usage_event
from tests.unit.bus.usage_pieces import FILE
from tests.unit.bus.usage_pieces import enter as enter_from


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(f"master_key: gw_live_of_the_tests\ndata_dir: {tmp_path}/data\n")
    return path


def write(config: Path, *events: UsageEvent | bytes) -> None:
    folder = config.parent / "data" / "usage"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "usage-0-00000001.jsonl").open("ab") as file:
        for event in events:
            file.write((event if isinstance(event, bytes) else msgspec.json.encode(event)) + b"\n")


def enter(config: Path, *statements: str) -> None:
    """Enter what was written, as the sidecar does, and do something to the ledger then."""

    async def rater() -> NoPrices:
        return NoPrices()

    async def run() -> None:
        store = Store.open(None, str(config.parent / "data"))
        await store.migrate()
        ingester = Ingester(store, config.parent / "data" / "usage", rater)
        await ingester.start()
        while await ingester.round():
            pass
        async with store.writing() as session:
            for statement in statements:
                await (await session.connection()).exec_driver_sql(statement)
        await store.close()

    asyncio.run(run())


def usage(config: Path, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["usage", command, "--config", str(config), *arguments])


def event(number: int, **changes: object) -> UsageEvent:
    return usage_event(id=f"req_{number}", cost_nanos=10 * number, **changes)


def test_what_is_pending(config: Path) -> None:
    write(config, event(1))
    enter(config)
    assert usage(config, "pending").output == "pending: 0 events; set aside: 0 lines\n"
    write(config, event(2), event(3))
    result = usage(config, "pending")
    assert "usage-0-00000001.jsonl: 2 events" in result.output
    assert "since 2023-11-14T22:13:20.000+00:00" in result.output
    told = json.loads(usage(config, "pending", "--json").output)
    assert [file["events"] for file in told["files"]] == [2]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
def node(tmp_path: Path, redis: RedisServer) -> Path:
    """A machine with workers alone: no database."""
    path = tmp_path / "gateway.yaml"
    path.write_text(f"master_key: gw_live_of_the_tests\ndata_dir: {tmp_path}/data\nredis_url: {redis.url}\n")
    return path


def test_what_is_pending_through_redis(node: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usage(node, "pending").output == "pending: 0 events; set aside: not known here\n"
    write(node, event(1))
    folder = node.parent / "data" / "usage"
    size = (folder / FILE).stat().st_size
    with Redis.from_url(redis.url, protocol=2) as client:
        drain = Drain(folder, client)
        drain.round()
        write(node, event(2))
        drain.round()
        client.xgroup_create(STREAM, GROUP, id="0")
        client.xreadgroup(GROUP, "a sidecar", {STREAM: ">"}, count=1)
        write(node, event(3), event(4))
        (file,) = json.loads(usage(node, "pending", "--json").output)["files"]
        assert (file["events"], file["bytes"], file["redis"], file["claimed"]) == (4, 4 * size, 2 * size, size)
        assert f"4 events, {4 * size} bytes" in usage(node, "pending").output
        assert f"in Redis: {2 * size} bytes, of which taken: {size}" in usage(node, "pending").output
        enter_from(client, [], last_first=True, most=1)
        (file,) = json.loads(usage(node, "pending", "--json").output)["files"]
        assert (file["events"], file["redis"], file["claimed"]) == (3, size, size)
        enter_from(client, [])
        drain.round()
        enter_from(client, [])
        drain.round()
        drain.settle()
    redis.stop()
    assert usage(node, "pending").stdout == "pending: 0 events; set aside: not known here\n"
    write(node, event(5))
    result = usage(node, "pending")
    assert "Redis can't tell what is there" in result.stderr
    assert f"{FILE}: 1 event, {size} bytes" in result.stdout
    assert json.loads(usage(node, "pending", "--json").output)["redis_fault"].startswith("ConnectionError")


def test_lines_that_are_set_aside_are_told_of_where_the_ledger_is(config: Path, redis: RedisServer) -> None:
    write(config, b"no event")
    enter(config)
    config.write_text(config.read_text() + f"redis_url: {redis.url}\n")
    assert usage(config, "pending").output == "pending: 0 events; set aside: 1 line\n"
    (config.parent / "data" / "gateway.db").write_text("no database at all")
    assert usage(config, "pending").output == "pending: 0 events; set aside: not known here\n"


def test_what_was_confirmed_through_redis_is_verified(config: Path) -> None:
    write(config, event(1))
    enter(config)
    write(config, event(2))
    folder = config.parent / "data" / "usage"
    keep_positions(folder, "stream", {FILE: (folder / FILE).stat().st_size})
    result = usage(config, "verify")
    assert result.exit_code == 1
    assert "missing: req_2" in result.output


def test_what_is_confirmed_meanwhile_is_not_missed(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(config, event(1))
    enter(config)
    folder = config.parent / "data" / "usage"

    async def verify_slowly(work: Work) -> Verified:
        found = await verify(work)
        write(config, event(2))  # and it is entered, which this moment of the ledger does not show
        keep_positions(folder, "stream", {FILE: (folder / FILE).stat().st_size})
        return found

    monkeypatch.setattr("gateway.cli.usage.verify", verify_slowly)
    assert usage(config, "verify").exit_code == 0


def test_a_whole_ledger(config: Path) -> None:
    write(config, event(1), b"no event", event(2, outcome="error"))
    enter(config)
    write(config, event(3))
    result = usage(config, "verify")
    assert result.output.startswith("whole: 2 entries of 1 day, 0.000000010 USD, 0 requests unpriced; 2 written ids"), result.output
    assert result.exit_code == 0
    assert json.loads(usage(config, "verify", "--json").output)["cost_nanos"] == 10


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("DELETE FROM ledger_entries WHERE id = 'req_2'", "missing: req_2"),
        ("UPDATE ledger_entries SET cost_nanos = 5 WHERE id = 'req_2'", "sums_differ: hour"),
        ("UPDATE usage_days SET requests = requests + 1", "sums_differ: day"),
        ("DELETE FROM usage_hours", "sums_differ: hour"),
        ("INSERT INTO usage_days SELECT 'x', start + 86400, '', '', '', '', '', 1, 0,0,0,0,0,0,0,0,0,0,0,0,0,1"
         " FROM usage_days", "sums_differ: day"),
        ("UPDATE ledger_entries SET cost_parts = '{\"input\": 3}' WHERE id = 'req_1'", "parts_differ: req_1"),
    ],
)  # fmt: skip
def test_a_ledger_that_is_not_whole(config: Path, statement: str, fault: str) -> None:
    write(config, event(1), event(2))
    enter(config, statement)
    result = usage(config, "verify")
    assert result.exit_code == 1
    assert fault in result.output
    assert "not whole: " in result.output


def test_the_export(config: Path, tmp_path: Path) -> None:
    write(config, event(1, tags={"a": "b"}, model="=cmd"), event(2, organization="other"))
    enter(config)
    rows = list(csv.DictReader(io.StringIO(usage(config, "export").stdout)))
    assert [row["id"] for row in rows] == ["req_1", "req_2"]
    assert (rows[0]["cost_nanos"], rows[0]["tags"], rows[0]["requested_model"]) == ("10", '{"a":"b"}', "'=cmd")
    target = tmp_path / "out.jsonl"
    options = ("--format", "jsonl", "--organization", "other", "--output", str(target))
    assert usage(config, "export", *options, "--from", "2023-11-14").exit_code == 0
    assert [json.loads(line)["id"] for line in target.read_text().splitlines()] == ["req_2"]
    assert usage(config, "export", "--until", "2023-11-14T22:13:20Z").stdout.count("\n") == 1
    assert "--from" in usage(config, "export", "--from", "yesterday").output


def test_lines_that_were_set_aside_are_tried_again(config: Path) -> None:
    good = msgspec.json.encode(event(7)).decode()
    write(config, event(1), b"no event", b"another", event(2))
    enter(config, f"UPDATE poison_entries SET line = '{good}' WHERE line = 'another'")
    result = usage(config, "replay")
    assert result.output == "entered: 1; in the ledger before: 0; still set aside: 1\n"
    assert result.exit_code == 1
    assert "set aside: 1 line" in usage(config, "pending").output
    assert '"req_7"' in usage(config, "export", "--format", "jsonl").stdout
    assert usage(config, "verify").exit_code == 0


def test_there_is_no_ledger_yet(config: Path) -> None:
    for command in ("pending", "verify", "export", "replay"):
        result = usage(config, command)
        assert result.exit_code == 2
        assert "there is no ledger" in result.output
