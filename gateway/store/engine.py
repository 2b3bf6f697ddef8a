"""The database: SQLite in ``data_dir``, or the PostgreSQL that ``database_url`` names. The same code runs over both.

::

    Store.open(None, "./data")                     data/gateway.db, made where there is none
    Store.open("postgresql://user@host/name", …)   that database
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.sqlite import write_ahead
from gateway.store import migrate

FILE = "gateway.db"
_BUSY_TIMEOUT = 5_000  # milliseconds
_PAGES = 600  # KiB of a file that a connection to SQLite keeps for reading; the system keeps them too
_WRITER_PAGES = 6_000  # KiB; what a large transaction changes is then written once, and not read again by the next
_PREPARED = 40  # statements that a connection for reading keeps, of up to 50 KB each
_CHECKPOINT = 4_000  # pages: what is changed again and again goes from the log into the file but once
_PRAGMAS = (f"busy_timeout = {_BUSY_TIMEOUT}", "foreign_keys = ON", f"wal_autocheckpoint = {_CHECKPOINT}")
_READ_ONLY = "gateway_read_only"

T = TypeVar("T")


class Store:
    """The engine and its sessions. ``sessions`` may write; ``readers`` give one consistent picture and never wait."""

    def __init__(self, engine: AsyncEngine, readers: AsyncEngine | None = None) -> None:
        self.engine = engine
        self.engines = (engine,) if readers is None else (engine, readers)
        """Who writes first, who reads last."""
        self.is_sqlite = engine.dialect.name == "sqlite"
        options: dict[str, Any] = {_READ_ONLY: True}
        if not self.is_sqlite:
            options |= {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
        self.sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._reading = self.engines[-1].execution_options(**options)
        self.readers = async_sessionmaker(self._reading, expire_on_commit=False)
        self.large = asyncio.Lock()
        """Held while something of megabytes is handled on its way into the database: one thing at a time."""
        self._turn = asyncio.Lock()
        self._looking: _Looking | None = None

    @classmethod
    def open(cls, database_url: str | None, data_dir: str) -> Store:
        """A store for ``database_url``, or for a file in ``data_dir`` where that is None. Nothing is connected yet.

        Raises :class:`GatewayError` (``database_unavailable``) where the directory can't be made or the PostgreSQL
        driver is not installed.
        """
        url = address_of(database_url, data_dir)
        try:
            if url.get_backend_name() == "sqlite":
                if url.database:
                    _prepare(Path(url.database))
                return cls(*_sqlite(url))
            pool = {"pool_size": 10, "max_overflow": 10, "pool_pre_ping": True, "pool_timeout": 10}
            return cls(create_async_engine(url, hide_parameters=True, **pool))
        except OSError as error:
            raise _unavailable(f"cannot make the database in its directory: {error.strerror}") from None
        except ModuleNotFoundError as error:
            raise _unavailable(f"{error.name} is not installed: pip install 'llm-gateway[postgres]'") from None

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A session in a transaction that may write; commits at the end, rolls back on an exception.

        SQLite takes one writer at a time: within this process they queue here in order, instead of polling for the
        file's lock, which has no order and ends in failure after five seconds.
        """
        turn = self._turn if self.is_sqlite else nullcontext()
        with _told():
            async with turn, self.sessions.begin() as session:
                yield session

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session for reading only, all of it as of one moment."""
        with _told():
            async with self.readers() as session:
                yield session

    async def snapshot(self, read: Callable[[Connection], T]) -> T:
        """What ``read`` makes of one moment, with as little as can be between it and the database.

        It runs within a transaction for reading only; on SQLite in a thread, where a statement costs a call instead of
        four messages to the driver's thread. It must not touch what belongs to the event loop.
        """
        with _told():
            if not self.is_sqlite:
                async with self._reading.connect() as connection:
                    return await connection.run_sync(read)
            if self._looking is None:
                self._looking = _Looking(self.engine.url)
            return await self._looking.look(read)

    async def migrate(self) -> None:
        """Bring the tables up to date. Two processes may do so at once: the second waits and finds nothing to do.

        Raises :class:`GatewayError` (``database_unavailable``), also where a newer gateway has made the tables.
        """
        with _told():
            async with self.engine.connect() as connection:
                await connection.run_sync(migrate.upgrade)

    async def close(self) -> None:
        """Close every connection."""
        if self._looking is not None:
            await self._looking.close()
        for engine in self.engines:
            await engine.dispose()


class _Looking:
    """A thread with a connection of its own to a SQLite file, for reading."""

    def __init__(self, url: URL) -> None:
        self._engine = create_engine(url.set(drivername="sqlite"), hide_parameters=True)
        _configure(self._engine, _PAGES)
        self._readers = self._engine.execution_options(**{_READ_ONLY: True})
        self._thread = ThreadPoolExecutor(1, "store")

    async def look(self, read: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._look, read)

    def _look(self, read: Callable[[Connection], T]) -> T:
        with self._readers.connect() as connection:
            return read(connection)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()


def address_of(database_url: str | None, data_dir: str) -> URL:
    """The URL with the driver this project uses; ``sslmode`` becomes the driver's ``ssl``."""
    if database_url is None:
        return URL.create("sqlite+aiosqlite", database=str(Path(data_dir) / FILE))
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        return url.set(drivername="sqlite+aiosqlite")
    query = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
    return url.set(drivername="postgresql+asyncpg", query=query)


def _prepare(file: Path) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Nobody else reads digests and password hashes; SQLite gives its other files the same mode.
    file.touch(mode=0o600, exist_ok=True)


def _sqlite(url: URL) -> tuple[AsyncEngine, ...]:
    """Who writes, who comes one at a time, and who reads; one for both where what is written is in memory."""
    # What failed is logged, and digests and hashes of passwords are among what is written.
    if url.database in (None, "", ":memory:"):
        both = create_async_engine(url, hide_parameters=True)
        _configure(both.sync_engine, _PAGES)
        return (both,)
    # Each connection has pages of its own in memory, and a thread. Only what one writer leaves to itself stays good.
    writer = create_async_engine(url, hide_parameters=True, pool_size=1, max_overflow=4, async_creator=_opener(url))
    few = _opener(url, cached_statements=_PREPARED)
    readers = create_async_engine(url, hide_parameters=True, pool_size=2, max_overflow=2, async_creator=few)
    _configure(writer.sync_engine, _WRITER_PAGES)
    _configure(readers.sync_engine, _PAGES)
    return writer, readers


class _Connection(aiosqlite.Connection):
    """Stopped once. SQLAlchemy stops a connection whose closing is cancelled, and the driver's closing stops it again:
    it would wait for ever for a thread that has ended.
    """

    _stopped: asyncio.Future[Any] | None = None

    def stop(self) -> asyncio.Future[Any] | None:
        """Close it and end its thread; gives when that is done."""
        if self._stopped is None:
            self._stopped = super().stop()
        return self._stopped


def _opener(url: URL, **options: Any) -> Callable[[], Awaitable[aiosqlite.Connection]]:
    (database,), of_url = SQLiteDialect_aiosqlite().create_connect_args(url)
    options |= of_url

    def connect() -> sqlite3.Connection:
        file: sqlite3.Connection = sqlite3.connect(database, **options)
        try:
            write_ahead(file, _BUSY_TIMEOUT / 1_000)
        except BaseException:
            file.close()
            raise
        return file

    async def opened() -> aiosqlite.Connection:
        connection = _Connection(connect, iter_chunk_size=64)  # rows at once, as the driver has it
        connection._thread.daemon = True  # as SQLAlchemy makes it: a process must not wait for it at its end
        opening: asyncio.Future[aiosqlite.Connection] = asyncio.ensure_future(connection)
        try:
            return await asyncio.shield(opening)
        except BaseException:
            # Of somebody who left the driver's thread opens the file all the same, and would leave it open. And it must
            # end before the event loop does, which it answers to.
            with suppress(sqlite3.Error):
                await opening
            ending = connection.stop()
            if ending is not None:
                await ending
            raise

    return opened


def _configure(engine: Engine, pages: int) -> None:
    def configure(connection: Any, _record: object) -> None:
        # The driver would begin a transaction only at the first write, too late to read and then write safely.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (*_PRAGMAS, f"cache_size = -{pages}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", begin)


@contextmanager
def _told() -> Iterator[None]:
    """Tell that the database can't be reached as what it is: nobody's mistake, and over at some time."""
    try:
        yield
    except (OSError, PoolTimeout) as error:
        raise _unavailable(f"The database can't be reached: {error}") from error
    except DBAPIError as error:
        # Without a statement it was the connecting that failed: a wrong password, a database that does not exist.
        if error.connection_invalidated or error.statement is None or "database is locked" in str(error.orig):
            raise _unavailable(f"The database can't be used now: {error.orig}") from error
        raise


def _unavailable(message: str) -> GatewayError:
    return GatewayError(Kind.UNAVAILABLE, "database_unavailable", message, "database_url")
