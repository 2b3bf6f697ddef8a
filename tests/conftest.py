"""Options and defaults of the whole suite."""

from __future__ import annotations

import gc
import inspect
import logging
import os
from collections.abc import Generator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres import bare_database, database, postgres, sqlite_template, store
from tests.support.reporting import told

__all__ = ["bare_database", "database", "postgres", "sqlite_template", "store"]

PATIENCE = 60.0
"""Seconds that a client of a test's waits for an answer where the test does not say: a busy machine may be late."""

settings.register_profile(
    "suite",
    deadline=None,
    print_blob=True,
    derandomize=bool(os.environ.get("CI")),  # a landing must not hang on luck; local runs look for new cases
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")

# A line for each request that a test makes would hide why it failed.
for noisy in ("httpx", "httpcore"):
    logging.getLogger(noisy).setLevel(logging.WARNING)


def pytest_configure() -> None:
    """Have every client of a test's be patient: what httpx takes by itself, five seconds, is one object."""
    given: httpx.Timeout = inspect.signature(httpx.Client).parameters["timeout"].default
    for name in ("connect", "read", "write", "pool"):
        setattr(given, name, PATIENCE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--direct",
        action="store_true",
        help="point the clients of the scenario tests at the fake provider itself",
    )


def pytest_collection_finish() -> None:
    """What thousands of tests are made of is no garbage before the end: let it not be looked through all the time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, Any, Any]:
    """Commands that a test calls in this process turn the logs of all of it to themselves; the next has its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        return (yield)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, Any, Any]:
    """Tell once more, behind everything else, why tests failed."""
    result = yield
    reports = [*terminalreporter.stats.get("error", []), *terminalreporter.stats.get("failed", [])]
    if reports:
        terminalreporter.section("why")
        for line in told(reports):
            terminalreporter.write_line(line)
    return result
