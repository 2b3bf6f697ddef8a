"""Accounts in the database of a running sidecar, changed from the test's process as the command line does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.domain.actor import SYSTEM
from gateway.domain.credentials.requests import NewCredential
from gateway.domain.credentials.service import CredentialService
from gateway.domain.work import Works
from gateway.kernel.secrets import digest_of
from gateway.store.engine import Store
from tests.support.postgres import import_models
from tests.support.sidecar import MASTER


class Accounts:
    """Makes and changes what belongs to the organisation ``default``."""

    def __init__(self, works: Works) -> None:
        self.works = works

    async def create_key(self, name: str = "a", **fields: Any) -> tuple[str, str]:
        """A new key: its id and its secret."""
        async with self.works.begin(SYSTEM) as work:
            asked = NewCredential(name=name, **{"organization": "default", "user": None, **fields})
            row, secret = await CredentialService(work).create(asked)
            return row.id, secret

    async def revoke_key(self, id: str) -> None:
        """End a key."""
        async with self.works.begin(SYSTEM) as work:
            await CredentialService(work).revoke(id)


@asynccontextmanager
async def accounts(data_dir: str, database_url: str | None = None) -> AsyncIterator[Accounts]:
    """The accounts of the sidecar with this ``data_dir`` or database, which must have been started once."""
    import_models()
    store = Store.open(database_url, data_dir)
    try:
        yield Accounts(Works(store, master_key=MASTER))
    finally:
        await store.close()


def hex_digest(secret: str) -> str:
    """What the data plane asks by."""
    return digest_of(secret.encode()).hex()
