"""A PostgreSQL of the development packages, with its data in a folder that is kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

# From the development packages, as the tests have it.
from tests.support.postgres import PostgresServer

# What is committed is on the disk. The memory is what a machine of some gigabytes would give it.
OPTIONS = ("shared_buffers=512MB", "max_wal_size=4GB", "checkpoint_timeout=15min", "jit=off", "random_page_cost=1.1")
# What is filled is on the disk when that has ended, and made anew where it did not end.
FILLING = (
    "fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off", "wal_level=minimal",
    "max_wal_senders=0", "max_wal_size=1GB", "shared_buffers=1GB", "work_mem=64MB", "jit=off",
)  # fmt: skip
FILLED, EMPTY = "filled", "empty"
"""Names of databases."""


@contextlib.contextmanager
def running(folder: Path, options: Sequence[str] = OPTIONS) -> Iterator[PostgresServer]:
    """A running server for the time of a ``with`` block; what is in its databases stays."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    server = PostgresServer(folder, options)
    server.start()
    try:
        yield server
    finally:
        server.stop(cleanly=True)


def url_of(server: PostgresServer, name: str, *, anew: bool = False) -> str:
    """The URL of a database, made where there is none; ``anew`` removes one that is there."""
    asyncio.run(_made(server, name, anew=anew))
    return server.url(name)


async def _made(server: PostgresServer, name: str, *, anew: bool) -> None:
    if anew:
        await server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    if not await server.has(name):
        await server.execute(f"CREATE DATABASE {name}")
