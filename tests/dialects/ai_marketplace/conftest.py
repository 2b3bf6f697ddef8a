"""The sidecar that the tests of this reference ask."""

from __future__ import annotations

import pytest

from tests.dialects.conftest import Api
from tests.dialects.served import Served


@pytest.fixture
async def served(api: Api) -> Served:
    """A sidecar over SQLite with an organisation ``acme``."""
    return await _with_acme(api)


@pytest.fixture
async def every_served(every_api: Api) -> Served:
    """The same over SQLite and over PostgreSQL in turn."""
    return await _with_acme(every_api)


async def _with_acme(api: Api) -> Served:
    made = Served(api)
    await made.organization("acme")
    return made
