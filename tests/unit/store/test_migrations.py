"""The migrations: they make what the models say, over both databases, and only once."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from gateway.kernel.errors import GatewayError
from gateway.store import migrate
from gateway.store.base import Base
from gateway.store.engine import Store
from tests.support.postgres import import_models


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, Base.metadata))


def described(connection: Connection) -> dict[str, object]:
    """All that the database itself says of its tables."""
    found = inspect(connection)
    return {
        name: {
            "columns": [str(column) for column in found.get_columns(name)],
            "primary key": found.get_pk_constraint(name),
            "unique": sorted(str(item) for item in found.get_unique_constraints(name)),
            "indexes": sorted(_index(item) for item in found.get_indexes(name)),
            "foreign keys": sorted(str(item) for item in found.get_foreign_keys(name)),
        }
        for name in sorted(found.get_table_names())
        if name != "alembic_version"
    }


def _index(item: Any) -> str:
    """An index and what it is limited to, which is an object without a text of its own."""
    limits = {name: str(value) for name, value in item.get("dialect_options", {}).items()}
    return str({**item, "dialect_options": limits})


async def test_they_make_what_the_models_say(bare_database: str) -> None:
    import_models()
    store = Store.open(bare_database, "")
    await store.migrate()
    async with store.engine.begin() as connection:
        assert await connection.run_sync(differences) == []
        migrated = await connection.run_sync(described)
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
        assert await connection.run_sync(described) == migrated
    await store.close()


async def test_a_second_run_changes_nothing(bare_database: str) -> None:
    store = Store.open(bare_database, "")
    await store.migrate()
    await store.migrate()
    async with store.reading() as session:
        assert (await session.execute(text("SELECT version_num FROM alembic_version"))).all() == [(migrate.head(),)]
    await store.close()


async def test_processes_that_start_together_do_not_disturb_each_other(bare_database: str) -> None:
    code = (
        "import asyncio, sys\n"
        "from gateway.store.engine import Store\n"
        "async def main():\n"
        "    store = Store.open(sys.argv[1], '')\n"
        "    await store.migrate()\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, bare_database]
    running = [
        await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, env=dict(os.environ))
        for _ in range(3)
    ]
    ended = await asyncio.gather(*(process.communicate() for process in running))
    assert [process.returncode for process in running] == [0, 0, 0], ended
    store = Store.open(bare_database, "")
    async with store.reading() as session:
        assert (await session.execute(text("SELECT count(*) FROM alembic_version"))).scalar_one() == 1
    await store.close()


async def test_tables_of_a_newer_gateway_are_left_alone(bare_database: str) -> None:
    store = Store.open(bare_database, "")
    await store.migrate()
    async with store.writing() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(GatewayError, match="9999") as raised:
        await store.migrate()
    assert raised.value.code == "database_unavailable"
    await store.close()


def test_the_last_revision_is_the_one_alembic_finds() -> None:
    assert migrate.head() == ScriptDirectory.from_config(migrate.config_for()).get_current_head()


def test_a_chain_of_revisions_has_one_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "versions").mkdir()
    lines = ('revision = "0001"\ndown_revision = None\n', "revision: str = '0002'\ndown_revision = '0001'\n")
    for number, line in enumerate(lines):
        (tmp_path / "versions" / f"{number}.py").write_text(line)
    monkeypatch.setattr(migrate, "_SCRIPTS", tmp_path)
    migrate.head.cache_clear()
    try:
        assert migrate.head() == "0002"
    finally:
        migrate.head.cache_clear()


async def test_alembic_is_loaded_only_where_there_is_something_to_do(bare_database: str) -> None:
    code = (
        "import asyncio, sys\n"
        "from gateway.store.engine import Store\n"
        "async def main():\n"
        "    store = Store.open(sys.argv[1], '')\n"
        "    await store.migrate()\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
        "print('alembic' in sys.modules)\n"
    )
    for expected in (b"True", b"False"):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, bare_database, stdout=asyncio.subprocess.PIPE
        )
        told, _ = await process.communicate()
        assert told.strip() == expected
