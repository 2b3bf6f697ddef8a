"""The data plane runs on uvloop in production, and so do its tests."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], AbstractEventLoop]]:
    """The one loop the tests of this folder run on."""
    return {"uvloop": uvloop.new_event_loop}
