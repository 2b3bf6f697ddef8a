"""The sidecar's whole application in the test's own loop: a real SQLite database, asked over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from gateway.domain.actor import Actor
from gateway.domain.audit.model import AuditRecord
from gateway.domain.authentication.principal import Principal
from gateway.domain.organizations.requests import NewOrganization
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.users.requests import NewUser
from gateway.domain.users.service import UserService
from gateway.settings.model import Admin, Settings
from gateway.sidecar.app import create_app
from gateway.sidecar.parts import Sidecar, opened

MASTER_KEY = "gw_test_master_key"
ADMIN = Admin(email="root@example.com", password="correct horse battery")
PASSWORD = "a test's password"
_MASTER = Actor(kind="master", id="master", permissions=frozenset({"*"}))


class Served:
    """An application that is asked with ``ask``, and what stands behind it."""

    def __init__(self, sidecar: Sidecar, client: httpx.AsyncClient, data_dir: Path) -> None:
        self.sidecar = sidecar
        self.client = client
        self.data_dir = data_dir

    async def ask(
        self, method: str, path: str, secret: str | None = None, *, json: Any = None, **more: Any
    ) -> httpx.Response:
        """One request, with a bearer credential where one is given."""
        headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
        if json is not None:
            more["json"] = json
        return await self.client.request(method, path, headers=headers, **more)

    async def organization(self, name: str, plan: str | None = None) -> str:
        """Make an organisation; gives its id, which is its name."""
        async with self.sidecar.works.begin(_MASTER) as work:
            return (await OrganizationService(work).create(NewOrganization(name=name, id=name, plan=plan))).id

    async def signed_in(self, organization: str, role: str) -> str:
        """Make a user of an organisation and sign them in; gives their access token."""
        email = f"{role}@{organization}.example"
        async with self.sidecar.works.begin(_MASTER) as work:
            new = NewUser(email=email, password=PASSWORD, organization=organization, role=role)
            await UserService(work).create(new)
        return (await self.sidecar.sessions.sign_in(email, PASSWORD)).tokens.access_token

    async def resolve(self, secret: str) -> Principal:
        """Who a credential is, as every request is authenticated."""
        return await self.sidecar.authenticator.resolve(secret)

    async def records(self, action: str) -> list[AuditRecord]:
        """The audit records of one action, in order."""
        async with self.sidecar.works.read(_MASTER) as work:
            query = select(AuditRecord).where(AuditRecord.action == action).order_by(AuditRecord.seq)
            return list(await work.session.scalars(query))


@asynccontextmanager
async def serving(data_dir: Path) -> AsyncIterator[Served]:
    """The application over a fresh database in ``data_dir``, with the plans that ship with the gateway."""
    settings = Settings(data_dir=str(data_dir), master_key=MASTER_KEY, admin=ADMIN)
    async with opened(settings, MASTER_KEY) as sidecar:
        transport = httpx.ASGITransport(create_app(sidecar))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield Served(sidecar, client, data_dir)
