"""Options and defaults of the whole suite."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres import bare_database, database, postgres, sqlite_template, store

__all__ = ["bare_database", "database", "postgres", "sqlite_template", "store"]

settings.register_profile(
    "suite",
    deadline=None,
    print_blob=True,
    derandomize=bool(os.environ.get("CI")),  # a landing must not hang on luck; local runs look for new cases
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--direct",
        action="store_true",
        help="point the clients of the scenario tests at the fake provider itself",
    )
