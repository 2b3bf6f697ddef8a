"""The data plane runs on uvloop in production, and so do these tests. What they find is kept for the scorecard."""

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


@pytest.fixture
def score(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Keeps what a test found for the scorecard: see :mod:`tests.faults.scorecard`."""

    def keep(fault: str, stream: bool, case: str, got: str, calls: int) -> None:
        record_property("score", (fault, stream, case, got, calls))

    return keep


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """Keeps a measured number for the scorecard."""

    def keep(name: str, value: str) -> None:
        record_property("figure", (name, value))

    return keep
