"""``gateway audit verify``: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from gateway.cli.main import cli
from gateway.domain.actor import SYSTEM
from gateway.domain.work import Works
from gateway.store.engine import Store

MASTER_KEY = "gw_live_of_the_tests"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(f"master_key: {MASTER_KEY}\ndata_dir: {tmp_path}/data\n")
    return path


def prepare(config: Path, *statements: str) -> None:
    """A log of three records, and what was then done to it."""

    async def run() -> None:
        store = Store.open(None, str(config.parent / "data"))
        await store.migrate()
        works = Works(store, master_key=MASTER_KEY)
        for number in range(3):
            async with works.begin(SYSTEM) as work:
                await work.audit("thing.made", "thing", str(number))
        async with store.writing() as session:
            for statement in statements:
                await session.execute(text(statement))
        await store.close()

    asyncio.run(run())


def verify(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["audit", "verify", "--config", str(config), *arguments])


def test_an_intact_log(config: Path) -> None:
    prepare(config)
    result = verify(config)
    assert result.exit_code == 0
    assert result.output.startswith("intact: 3 records, ending in 3:")
    end = result.output.strip().rpartition(" ")[2]
    assert verify(config, "--expect", end).exit_code == 0
    other = "2:" + end.partition(":")[2]
    result = verify(config, "--expect", other)
    assert result.exit_code == 1
    assert "another record" in result.output


def test_a_broken_log_names_the_first_broken_record(config: Path) -> None:
    prepare(config, "UPDATE audit_records SET actor_id = 'x' WHERE seq > 1")
    result = verify(config)
    assert result.exit_code == 1
    assert result.output.startswith("broken at record 2 (aud_")
    assert "changed after it was written" in result.output
    result = verify(config, "--json")
    assert result.exit_code == 1
    found = json.loads(result.output)
    assert (found["intact"], found["records"], found["broken"]["seq"]) == (False, 1, 2)


def test_json(config: Path) -> None:
    prepare(config)
    found = json.loads(verify(config, "--json").output)
    assert (found["intact"], found["records"], found["seq"], found["broken"]) == (True, 3, 3, None)


def test_what_cannot_be_read_is_told(config: Path) -> None:
    result = verify(config)
    assert result.exit_code == 2
    assert "there is no database" in result.output
    (config.parent / "data").mkdir()
    (config.parent / "data" / "gateway.db").write_bytes(b"no database at all, but long enough to look like one" * 40)
    result = verify(config)
    assert result.exit_code == 2
    assert "file is not a database" in result.output
    assert verify(config, "--expect", "nonsense").exit_code == 2


def test_a_database_without_a_log_is_told(config: Path) -> None:
    (config.parent / "data").mkdir()
    (config.parent / "data" / "gateway.db").write_bytes(b"")
    result = verify(config)
    assert result.exit_code == 2
    assert "no such table" in result.output
    assert MASTER_KEY not in result.output
