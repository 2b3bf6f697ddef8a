"""Two fake providers of different APIs and two gateways in front of them, one of which translates in any case."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.support.fake_anthropic import KEY as ANTHROPIC_KEY
from tests.support.fake_anthropic import FakeAnthropic
from tests.support.fake_openai import KEY as OPENAI_KEY
from tests.support.fake_openai import FakeOpenAI
from tests.support.gateway import RunningGateway, running_gateway

GATEWAY_KEY = "gw_live_protocols_0123456789"
POOR_KEY = "gw_live_protocols_without_any"
CLAUDE = "claude-opus-4-5"
BEHAVIOURS = ("split", "crlf", "crlf-split", "joined", "comments", "gzip", "cut", "endless", "error-event", "no-done",
              "error-400", "error-429", "error-529", "error-html", "flaky", "never")  # fmt: skip
INPUT, OUTPUT, CACHED, WRITTEN = 2_000, 8_000, 200, 2_500
"""Nano-dollars a token."""


def config(claude: FakeAnthropic, gpt: FakeOpenAI, *plugins: str) -> dict[str, Any]:
    """Every model of both under its own name, and some that fall back from one to the other."""
    quick = {"retry": {"attempts": 1}, "breaker": {"failures": 1000}}
    anthropic = {"kind": "anthropic", "base_url": claude.base_url, "api_key": ANTHROPIC_KEY, **quick}
    providers = [
        {"name": "ant", **anthropic},
        {"name": "dropping", **anthropic, "drop_params": ["seed", "logit_bias"]},
        {"name": "again", **anthropic, "retry": {"attempts": 2, "backoff": 0.01}},
        {"name": "impatient", **anthropic, "timeouts": {"first_token": 0.3, "stall": 0.3}},
        {"name": "oai", "base_url": gpt.base_url, "api_key": OPENAI_KEY, **quick},
    ]
    single = [(CLAUDE, "ant"), ("claude-3-5-haiku-20241022", "ant"), ("claude-sonnet-4-6", "ant"), ("fake-chat", "oai")]
    single += [(name, "ant") for name in BEHAVIOURS]
    models: list[dict[str, Any]] = [
        {"name": name, "targets": [{"provider": provider, "model": name}]} for name, provider in single
    ]
    models += [
        {"name": name, "targets": [{"provider": provider, "model": model} for provider, model in targets]}
        for name, targets in {
            "gpt-cut": [("oai", "cut")],
            "gpt-error": [("oai", "error-400")],
            "retried": [("again", "flaky")],
            "impatient": [("impatient", "never")],
            "dropping": [("dropping", CLAUDE)],
            "ant-then-oai": [("ant", "error-529"), ("oai", "fake-chat")],
            "oai-then-ant": [("oai", "error-503"), ("ant", CLAUDE)],
            "ant-or-oai": [("ant", CLAUDE), ("oai", "fake-chat")],
            "breaks": [("ant", "cut"), ("ant", "claude-3-5-haiku-20241022")],
        }.items()
    ]
    slow: list[dict[str, Any]] = [{"provider": "ant", "model": "never"}, {"provider": "oai", "model": "fake-other"}]
    models.append({"name": "hedged", "targets": slow, "hedge": {"after": 0.05, "share": 1.0, "spend": 1.0}})
    for name, provider, model, other in (
        ("shadowed", "oai", "fake-chat", CLAUDE),
        ("shadowed-claude", "ant", "claude-sonnet-4-6", "fake-chat"),
    ):
        shadow = {"model": other, "budget": 1.0}
        models.append({"name": name, "targets": [{"provider": provider, "model": model}], "shadow": shadow})
    models.append({"name": "lenient", "drop_params": ["*"], "targets": [{"provider": "ant", "model": CLAUDE}]})
    price = {"input_per_1k": 0.002, "output_per_1k": 0.008, "cached_input_per_1k": 0.0002, "cache_write_per_1k": 0.0025}
    return {
        "server": {"host": "127.0.0.1", "port": 0, "drain": 5.0},
        "data_dir": "data",
        "providers": providers,
        "models": models,
        "pricing": [{"provider": "ant", "model": CLAUDE, **price}, {"provider": "oai", "model": "fake-chat", **price}],
        "plugins": [{"name": name} for name in plugins],
        "keys": [
            {"key": GATEWAY_KEY, "name": "protocols", "organization": "tests"},
            {"key": POOR_KEY, "name": "poor", "limits": [{"metric": "requests", "window": "day", "limit": 0}]},
        ],
    }


@dataclass(frozen=True)
class Place:
    """Where a client is pointed at: a root without ``/v1``, and a key."""

    root: str
    key: str


@pytest.fixture(scope="session")
def claude() -> Iterator[FakeAnthropic]:
    """The provider with Anthropic's API."""
    with FakeAnthropic() as running:
        assert isinstance(running, FakeAnthropic)
        yield running


@pytest.fixture(scope="session")
def gpt() -> Iterator[FakeOpenAI]:
    """The provider with OpenAI's API."""
    with FakeOpenAI() as running:
        yield running


@pytest.fixture(scope="session")
def relaying(
    claude: FakeAnthropic, gpt: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """The gateway as it is."""
    with running_gateway(config(claude, gpt), tmp_path_factory.mktemp("relaying"), command="proxy") as running:
        yield running


@pytest.fixture(scope="session")
def translating(
    claude: FakeAnthropic, gpt: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway with a plugin that looks at everything, so that nothing is relayed as it came."""
    made = config(claude, gpt, "noop")
    with running_gateway(made, tmp_path_factory.mktemp("translating"), command="proxy") as running:
        yield running


@pytest.fixture(params=["direct", "relayed", "translated"])
def place(request: pytest.FixtureRequest, claude: FakeAnthropic) -> Place:
    """The provider itself, the gateway that relays to it, and the one that translates to the internal form and back:
    a client must not be able to tell them apart.
    """
    if request.param == "direct":
        return Place(claude.root, ANTHROPIC_KEY)
    gateway: RunningGateway = request.getfixturevalue("relaying" if request.param == "relayed" else "translating")
    return Place(gateway.root, gateway.key)


@pytest.fixture
def anthropic(place: Place) -> Iterator[Anthropic]:
    """Anthropic's SDK, for that."""
    with Anthropic(base_url=place.root, api_key=place.key, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture(params=["relaying", "translating"])
def gateway(request: pytest.FixtureRequest) -> RunningGateway:
    """Either gateway."""
    running: RunningGateway = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def messages(gateway: RunningGateway) -> Iterator[Anthropic]:
    """Anthropic's SDK, for either gateway."""
    with Anthropic(base_url=gateway.root, api_key=gateway.key, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def openai(gateway: RunningGateway) -> Iterator[OpenAI]:
    """OpenAI's SDK, for either gateway."""
    with OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def event_of(gateway: RunningGateway) -> Callable[[str], dict[str, Any]]:
    """The usage event of a request by its id: it is in a file some milliseconds after the answer."""

    def find(id: str) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for path in Path(gateway.config_path.parent, "data").rglob("usage-*.jsonl"):
                for line in path.read_bytes().splitlines():
                    if id.encode() in line:
                        event: dict[str, Any] = json.loads(line)
                        return event
            time.sleep(0.01)
        raise AssertionError(f"no usage event of {id}")

    return find
