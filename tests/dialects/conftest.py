"""A sidecar in the test's own process: the real application over a real database, asked through HTTP.

::

    async def test_…(api: Api)                   SQLite, its tables made by the migrations
    async def test_…(every_api: Api)             SQLite and PostgreSQL in turn
    answer = await api.master.post("/admin/create", json={…})
    person = await api.person("a@b.c", role="viewer")      person.http, .id, .number, .organization, .key
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi import FastAPI
from msgspec import convert
from sqlalchemy import select

from gateway.domain.actor import SYSTEM
from gateway.domain.audit.model import AuditRecord
from gateway.domain.credentials.requests import NewCredential
from gateway.domain.credentials.service import CredentialService
from gateway.domain.organizations.requests import NewOrganization
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.users.requests import NewUser
from gateway.domain.users.service import UserService
from gateway.settings.model import Settings
from gateway.sidecar.app import create_app
from gateway.sidecar.parts import Sidecar, opened
from tests.support.postgres import PostgresServer

MASTER = "gw_test_master_key_of_the_dialects"
ADDRESS = "203.0.113.9"
CONFIG: dict[str, Any] = {
    "providers": [{"name": "up", "kind": "openai", "base_url": "http://127.0.0.1:9/v1"}],
    "models": [{"name": "gpt-4", "targets": [{"provider": "up", "model": "gpt-4"}]}],
    "keys": [{"key": "gw_live_static", "name": "static", "organization": "acme"}],
}


class Person(NamedTuple):
    """A user with a key that may do all that they may. ``http`` asks with that key."""

    http: httpx.AsyncClient
    id: str
    number: int
    email: str
    organization: str
    key: str


class Api:
    """A running sidecar as its callers see it. ``master`` asks with the master key, ``anyone`` without a credential."""

    def __init__(self, sidecar: Sidecar, app: FastAPI, stack: AsyncExitStack) -> None:
        self.sidecar = sidecar
        self.app = app
        self._stack = stack

    async def open(self) -> Api:
        self.master = await self.client(MASTER)
        self.anyone = await self.client(None)
        return self

    async def client(self, secret: str | None, address: str = ADDRESS) -> httpx.AsyncClient:
        """A client that asks with a credential, from an address."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(address, 1234))
        headers = {"user-agent": "tests"} | ({} if secret is None else {"authorization": f"Bearer {secret}"})
        client = httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)
        return await self._stack.enter_async_context(client)

    async def organization(self, name: str = "Acme", plan: str | None = None) -> str:
        """A new organisation; gives its id."""
        async with self.sidecar.works.begin(SYSTEM) as work:
            return (await OrganizationService(work).create(NewOrganization(name=name, plan=plan))).id

    async def person(
        self,
        email: str = "user@example.com",
        role: str | None = None,
        organization: str | None = None,
        password: str | None = None,
        scopes: list[str] | None = None,
    ) -> Person:
        """A new user, of an organisation of their own unless one is given, with a key of ``scopes`` (default: all)."""
        async with self.sidecar.works.begin(SYSTEM) as work:
            new = NewUser(email=email, role=role, organization=organization, password=password)
            user = await UserService(work).create(new)
            asked = NewCredential(
                name="of the test", organization=user.organization_id, user=user.id, scopes=scopes or ["*"]
            )
            _, secret = await CredentialService(work).create(asked)
        http = await self.client(secret)
        return Person(http, user.id, user.number, user.email, user.organization_id, secret)

    async def audited(self, action: str) -> list[AuditRecord]:
        """The audit records of an action, oldest first."""
        async with self.sidecar.works.read(SYSTEM) as work:
            query = select(AuditRecord).where(AuditRecord.action == action).order_by(AuditRecord.seq)
            return list(await work.session.scalars(query))


@asynccontextmanager
async def running(data_dir: Path, database_url: str | None = None, **config: Any) -> AsyncIterator[Api]:
    """A sidecar for the time of the block, configured by :data:`CONFIG` and ``config``."""
    fields = CONFIG | {"data_dir": str(data_dir), "database_url": database_url} | config
    settings = convert(fields, Settings)
    async with opened(settings, MASTER) as sidecar, AsyncExitStack() as stack:
        yield await Api(sidecar, _app_of(sidecar), stack).open()


_apps: list[FastAPI] = []


def _app_of(sidecar: Sidecar) -> FastAPI:
    # Laying the routes takes longer than most tests: one application serves each sidecar in turn, but for the internal
    # API, which belongs to the first.
    if not _apps:
        _apps.append(create_app(sidecar))
    _apps[0].state.context = sidecar
    return _apps[0]


async def _start_once(data_dir: Path, database_url: str | None = None) -> None:
    async with running(data_dir, database_url):
        pass


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a database is kept as a sidecar leaves it that was started once."""
    return tmp_path_factory.mktemp("prepared") / "data"


async def _copy(prepared: Path, to: Path) -> Path:
    if not prepared.exists():  # noqa: ASYNC240 - nothing else runs
        await _start_once(prepared)
    shutil.copytree(prepared, to)
    return to


@pytest.fixture
async def api(tmp_path: Path, prepared: Path) -> AsyncIterator[Api]:
    """A sidecar over SQLite."""
    async with running(await _copy(prepared, tmp_path / "data")) as served:
        yield served


@pytest.fixture(scope="session")
def postgres_names() -> Iterator[int]:
    """Numbers for databases; the first is that of the template."""
    return count()


@pytest.fixture(params=["sqlite", "postgresql"])
async def every_api(
    request: pytest.FixtureRequest, tmp_path: Path, prepared: Path, postgres_names: Iterator[int]
) -> AsyncIterator[Api]:
    """A sidecar over SQLite and over PostgreSQL in turn."""
    if request.param == "sqlite":
        async with running(await _copy(prepared, tmp_path / "data")) as served:
            yield served
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    number = next(postgres_names)
    if number == 0:
        await server.execute("CREATE DATABASE dialects0")
        await _start_once(tmp_path / "first", server.url("dialects0"))
        number = next(postgres_names)
    name = f"dialects{number}"
    await server.execute(f"CREATE DATABASE {name} TEMPLATE dialects0")
    async with running(tmp_path / "data", server.url(name)) as served:
        yield served
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
