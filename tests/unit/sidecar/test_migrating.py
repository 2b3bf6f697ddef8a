"""The tables are brought up to date by a process that ends, and what it loads ends with it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway.store import migrate
from gateway.store.engine import Store

_CODE = """
import os, sys
from gateway.settings.model import Settings
from gateway.sidecar.migrating import migrate_apart

def no_fork():
    raise AssertionError("there was nothing to do")

settings = Settings(database_url=sys.argv[1], data_dir=sys.argv[2])
for fork in (os.fork, no_fork)[: int(sys.argv[3])]:
    os.fork = fork
    migrate_apart(settings)
print("alembic" in sys.modules)
"""


async def run(database: str, folder: Path, times: int) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", _CODE, database, str(folder), str(times), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    return process.returncode, told.strip()


async def test_what_is_behind_is_brought_up_to_date_once(bare_database: str, tmp_path: Path) -> None:
    assert await run(bare_database, tmp_path, 2) == (0, b"False")
    store = Store.open(bare_database, str(tmp_path))
    try:
        async with store.reading() as session:
            assert await (await session.connection()).run_sync(migrate.is_current)
    finally:
        await store.close()


async def test_a_database_that_is_away_is_left_to_the_next(tmp_path: Path) -> None:
    assert await run(f"postgresql://u:hush@/x?host={tmp_path}", tmp_path, 1) == (0, b"False")
