"""``gateway usage``: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.contract.usage import UsageEvent
from gateway.domain.ledger.rating import NoPrices
from gateway.sidecar.ingest import Ingester
from gateway.store.engine import Store
from tests.support.usage import usage_event


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


def test_a_whole_ledger(config: Path) -> None:
    write(config, event(1), b"no event", event(2, outcome="error"))
    enter(config)
    write(config, event(3))
    result = usage(config, "verify")
    assert result.output.startswith("whole: 2 entries of 1 days, 0.000000 USD, 0 unpriced, 2 ids"), result.output
    assert result.exit_code == 0
    assert json.loads(usage(config, "verify", "--json").output)["cost_nanos"] == 10


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("DELETE FROM ledger_entries WHERE id = 'req_2'", "missing: req_2"),
        ("UPDATE ledger_entries SET cost_nanos = 5 WHERE id = 'req_2'", "sums_differ: hour"),
        ("UPDATE usage_days SET requests = requests + 1", "sums_differ: day"),
        ("DELETE FROM usage_hours", "sums_differ: hour"),
        ("INSERT INTO usage_days SELECT 'x', start + 86400, '', '', '', '', '', 1, 0,0,0,0,0,0,0,0,0,0,0,0,0"
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
    assert "set aside: 1 lines" in usage(config, "pending").output
    assert '"req_7"' in usage(config, "export", "--format", "jsonl").stdout
    assert usage(config, "verify").exit_code == 0


def test_there_is_no_ledger_yet(config: Path) -> None:
    for command in ("pending", "verify", "export", "replay"):
        result = usage(config, command)
        assert result.exit_code == 2
        assert "there is no ledger" in result.output
