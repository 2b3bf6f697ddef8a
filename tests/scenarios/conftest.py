"""One fake provider and one gateway in front of it, shared by the scenario tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support.fake_openai import KEY, MODELS, FakeOpenAI
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.local_engine import RunningEngine, running_engine

GATEWAY_KEY = "gw_live_scenario_0123456789"
MAX_BODY = 8_000_000


@dataclass(frozen=True)
class Endpoint:
    """What an app is configured with: a base URL (``/v1`` included) and a key."""

    base_url: str
    key: str


def gateway_config(fake: FakeOpenAI) -> dict[str, Any]:
    """Every model of the fake under its own name, and some behind providers with other settings."""
    provider = {"kind": "openai", "base_url": fake.base_url, "api_key": KEY, "breaker": {"failures": 1000}}
    one_try = {"attempts": 1}
    providers = [
        {"name": "fake", **provider, "retry": one_try},
        {"name": "again", **provider, "retry": {"attempts": 2, "backoff": 0.01}},
        {"name": "impatient", **provider, "retry": one_try, "timeouts": {"first_token": 0.3, "stall": 0.3}},
        {"name": "nowhere", **provider, "retry": one_try, "base_url": "http://127.0.0.1:9/v1"},
        {"name": "locked", **provider, "retry": one_try, "api_key": "sk-not-the-providers-key"},
    ]
    models = [{"name": name, "targets": [{"provider": "fake", "model": name}]} for name in MODELS]
    models += [
        {"name": name, "targets": [{"provider": target, "model": model}]}
        for name, target, model in (
            ("renamed", "fake", "fake-chat"),
            ("renamed-hearing", "fake", "fake-transcribe"),
            ("retried", "again", "flaky"),
            ("retried-in-vain", "again", "failing"),
            ("impatient-never", "impatient", "never"),
            ("impatient-stuck", "impatient", "stuck"),
            ("nowhere", "nowhere", "fake-chat"),
            ("wrong-key", "locked", "fake-chat"),
        )
    ]
    return {
        "server": {"host": "127.0.0.1", "port": 0, "max_body_bytes": MAX_BODY, "drain": 5.0},
        "data_dir": "data",
        "pricing": [{"provider": "fake", "model": "fake-chat", "input_per_1k": 1.0, "output_per_1k": 2.0}],
        "providers": providers,
        "models": models,
        "keys": [{"key": GATEWAY_KEY, "name": "scenario", "organization": "tests"}],
    }


@pytest.fixture(scope="session")
def fake() -> Iterator[FakeOpenAI]:
    """The provider."""
    with FakeOpenAI() as running:
        yield running


@pytest.fixture(scope="session")
def gateway(fake: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """The gateway in front of it."""
    with running_gateway(gateway_config(fake), tmp_path_factory.mktemp("gateway"), command="proxy") as running:
        yield running


@pytest.fixture(scope="session")
def endpoint(request: pytest.FixtureRequest, fake: FakeOpenAI) -> Endpoint:
    """Where clients are pointed at: the gateway, or with ``--direct`` the provider itself."""
    if request.config.getoption("--direct"):
        return Endpoint(fake.base_url, KEY)
    gateway: RunningGateway = request.getfixturevalue("gateway")
    return Endpoint(gateway.base_url, gateway.key)


@pytest.fixture
def http(endpoint: Endpoint) -> Iterator[httpx.Client]:
    """A plain HTTP client of the endpoint, paths below ``/v1``."""
    headers = {"authorization": f"Bearer {endpoint.key}", "accept-encoding": "identity"}
    with httpx.Client(base_url=endpoint.base_url, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """A process with the local model."""
    with running_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running
