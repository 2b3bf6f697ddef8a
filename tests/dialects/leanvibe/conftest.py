"""The application that the tests of this reference ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.served import Served, serving


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A sidecar with a tenant ``acme`` on the plan ``team``."""
    async with serving(tmp_path) as made:
        await made.organization("acme", "team")
        yield made
