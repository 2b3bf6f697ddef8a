"""A sidecar that is asked by secret, with organisations whose id is their name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from gateway.domain.actor import SYSTEM
from gateway.domain.authentication.principal import Principal
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.users.requests import NewUser
from gateway.domain.users.service import UserService
from tests.dialects.conftest import MASTER, Api

MASTER_KEY = MASTER
PASSWORD = "a test's password"


class Served:
    """Over an :class:`Api`. ``records`` gives the audit records of an action, oldest first."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.sidecar = api.sidecar
        self.client = api.anyone
        self.records = api.audited

    @property
    def data_dir(self) -> Path:
        """Where the data plane would keep its counts."""
        return Path(self.sidecar.settings.data_dir)

    async def ask(
        self, method: str, path: str, secret: str | None = None, *, json: Any = None, **more: Any
    ) -> httpx.Response:
        """One request, with a bearer credential where one is given."""
        headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
        if json is not None:
            more["json"] = json
        return await self.client.request(method, path, headers=headers, **more)

    async def organization(self, name: str, plan: str | None = None) -> str:
        """An organisation on a plan; gives its id, which is its name."""
        async with self.sidecar.works.begin(SYSTEM) as work:
            organizations = OrganizationService(work)
            row = await organizations.ensure(name)
            return (await organizations.set_plan(row.id, plan)).id

    async def signed_in(self, organization: str, role: str) -> str:
        """Make a user of an organisation, ``<role>@<organization>.example``, and sign them in; gives their token."""
        email = f"{role}@{organization}.example"
        async with self.sidecar.works.begin(SYSTEM) as work:
            new = NewUser(email=email, password=PASSWORD, organization=organization, role=role)
            await UserService(work).create(new)
        return (await self.sidecar.sessions.sign_in(email, PASSWORD)).tokens.access_token

    async def resolve(self, secret: str) -> Principal:
        """Who a credential is, as every request is authenticated."""
        return await self.sidecar.authenticator.resolve(secret)
