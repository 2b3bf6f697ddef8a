"""Bringing the tables up to date in a process that ends with it: what that loads, 13 MB, would stay for good."""

from __future__ import annotations

import asyncio
import os

from gateway.settings.model import Settings
from gateway.store import migrate
from gateway.store.engine import Store

_FILES = 65_536  # more than a gateway opens before it serves


def migrate_apart(settings: Settings) -> None:
    """Bring the tables up to date, where they are not. Before there are threads, and outside of any event loop.

    What goes wrong is left to who opens the database next: they try again, and tell.
    """
    if not asyncio.run(_is_behind(settings)):
        return
    process = os.fork()
    if process == 0:
        try:
            # Neither sockets nor locks may outlive the parent here.
            os.closerange(3, _FILES)
            asyncio.run(_migrate(settings))
        finally:
            os._exit(0)
    os.waitpid(process, 0)


async def _is_behind(settings: Settings) -> bool:
    try:
        store = Store.open(settings.database_url, settings.data_dir)
        try:
            async with store.reading() as session:
                return not await (await session.connection()).run_sync(migrate.is_current)
        finally:
            await store.close()
    except Exception:
        return False  # whatever it is


async def _migrate(settings: Settings) -> None:
    store = Store.open(settings.database_url, settings.data_dir)
    try:
        await store.migrate()
    finally:
        await store.close()
