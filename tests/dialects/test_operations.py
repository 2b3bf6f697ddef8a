"""The list of operations says what is served, and the routes serve just that."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.routing import BaseRoute, Match

from gateway.contract.owners import Operation, operations
from gateway.dataplane.endpoints import health, models
from gateway.dataplane.endpoints.inference import BY_PATH
from gateway.sidecar.app import create_app


class _Parts:
    """What the application needs of a sidecar to lay its routes."""

    master_key = "gw_test"
    store = SimpleNamespace(large=asyncio.Lock())


@pytest.fixture(scope="module")
def sidecar() -> list[BaseRoute]:
    return create_app(cast(Any, _Parts())).routes


@pytest.fixture(scope="module")
def data_plane() -> list[BaseRoute]:
    worker = cast(Any, None)  # looked at by the handlers alone
    return [*health.routes(worker), *models.routes(worker)]


def routed(routes: list[BaseRoute], operation: Operation) -> bool:
    """Whether a route takes the operation."""
    path = re.sub(r"\{\w+\}", "12", operation.path)
    kind = "websocket" if operation.method == "WS" else "http"
    # One path is of two references: this one's for the credentials of apps alone.
    app = [(b"authorization", b"Bearer app_1:sk_1")] if operation.reference == "ai_marketplace" else []
    scope = {"type": kind, "method": operation.method, "path": path, "root_path": "", "headers": app}
    return any(route.matches(scope)[0] is Match.FULL for route in routes)


@pytest.mark.parametrize("operation", operations(), ids=lambda o: f"{o.reference} {o.method} {o.path}")
def test_what_is_listed_as_served_has_a_route_and_nothing_else_has(
    operation: Operation, sidecar: list[BaseRoute], data_plane: list[BaseRoute]
) -> None:
    inference = operation.method == "POST" and operation.path.encode() in BY_PATH
    answered = inference or routed(sidecar, operation) or routed(data_plane, operation)
    assert answered == (operation.state == "served")
