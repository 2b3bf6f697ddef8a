"""The models as clients see them, over a whole gateway: its workers, its sidecar, and the providers' own lists."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import httpx
import pytest
from anthropic import Anthropic
from click.testing import CliRunner
from openai import APIStatusError, OpenAI

from gateway.cli.main import cli
from tests.dialects.shape import example, same_shape
from tests.support import fake_anthropic
from tests.support.fake_anthropic import FakeAnthropic
from tests.support.fake_vendors import KEY, FakeVendors
from tests.support.gateway import START_SECONDS, RunningGateway, running_gateway

STATIC, NARROW = "gw_live_catalogue_0123456789", "gw_live_narrow_0123456789"
EVERY = ["gpt-4o", "maker/model", "both", "claude", "unknown", "local", "auto"]
UNKNOWN = {"id", "object", "created", "owned_by"}


class Served(NamedTuple):
    """The gateway after its providers were asked, and what they are."""

    gateway: RunningGateway
    vendors: FakeVendors
    anthropic: FakeAnthropic
    opened: ExitStack

    def client(self, path: str = "/v1", key: str = STATIC) -> OpenAI:
        client = OpenAI(base_url=self.gateway.root + path, api_key=key, max_retries=0, timeout=30)
        return self.opened.enter_context(client)

    def get(self, path: str, key: str | None = None, **params: str) -> httpx.Response:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx.get(self.gateway.root + path, headers=headers, params=params, timeout=30)


def config(vendors: FakeVendors, anthropic: FakeAnthropic, folder: str) -> dict[str, Any]:
    def targets(*pairs: tuple[str, str]) -> list[dict[str, str]]:
        return [{"provider": provider, "model": model} for provider, model in pairs]

    return {
        "server": {"port": 0},
        "data_dir": folder,
        "providers": [
            {"name": "openai", "base_url": f"{vendors.root}/nowhere", "api_key": KEY},
            {"name": "router", "kind": "openrouter", "base_url": f"{vendors.root}/like", "api_key": KEY},
            {"name": "mistral", "kind": "mistral", "base_url": f"{vendors.root}/mistral/v1", "api_key": KEY},
            {"name": "claude", "kind": "anthropic", "base_url": anthropic.base_url, "api_key": fake_anthropic.KEY},
            {"name": "here", "kind": "llama_cpp", "model": "smollm2-135m-instruct"},
        ],
        "models": [
            {"name": "gpt-4o", "targets": targets(("openai", "gpt-4o"))},
            {"name": "maker/model", "targets": targets(("router", "maker/model"))},
            {"name": "both", "targets": targets(("mistral", "mistral-model"), ("router", "maker/model"))},
            {"name": "claude", "targets": targets(("claude", "claude-fake"))},
            {"name": "unknown", "targets": targets(("openai", "nobody-knows-it"))},
            {"name": "local", "targets": targets(("here", "smollm2-135m-instruct"))},
        ],
        "keys": [{"key": STATIC, "name": "static"}, {"key": NARROW, "name": "narrow", "models": ["unknown"]}],
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("catalogue")
    with FakeVendors() as vendors, FakeAnthropic() as anthropic:
        assert isinstance(vendors, FakeVendors)
        assert isinstance(anthropic, FakeAnthropic)
        with running_gateway(config(vendors, anthropic, str(folder / "data")), folder) as gateway:
            deadline = time.monotonic() + START_SECONDS
            while httpx.get(f"{gateway.root}/models/providers", timeout=30).status_code == 503:
                assert time.monotonic() < deadline, gateway.log()
                time.sleep(0.05)
            # While the gateway runs, and nothing tells it.
            told = CliRunner().invoke(cli, ["models", "sync", "--config", str(gateway.config_path)])
            assert "openai: answered with status 404" in told.stdout, told.output
            assert "claude: 3 models" in told.stdout, told.output
            with ExitStack() as opened:
                yield Served(gateway, vendors, anthropic, opened)


def listed(client: OpenAI) -> dict[str, dict[str, Any]]:
    return {model.id: model.to_dict() for model in client.models.list()}


def priced(served: Served) -> dict[str, dict[str, Any]]:
    """The list, once the worker knows the prices that it asks for at its start."""
    deadline = time.monotonic() + 30
    client = served.client()
    while "pricing" not in (found := listed(client))["gpt-4o"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def test_openais_client_sees_what_is_known_and_nothing_else(served: Served) -> None:
    found = priced(served)

    assert list(found) == EVERY
    gpt, maker, both, claude, unknown, local, auto = found.values()
    assert gpt["context_length"] == 128_000
    assert gpt["pricing"] == {"prompt": "0.0000025", "completion": "0.00001", "input_cache_read": "0.00000125"}
    assert "tools" in gpt["supported_parameters"]
    assert maker["name"] == "Maker: Model"
    assert maker["context_length"] == 200_000
    assert maker["architecture"]["modality"] == "text+image->text"
    assert maker["pricing"]["prompt"] == "0.0000025"
    assert maker["top_provider"] == {
        "context_length": 200_000,
        "max_completion_tokens": 16_384,
        "is_moderated": True,
    }
    assert both["context_length"] == 200_000
    assert both["top_provider"] == {"context_length": 131_072}
    assert (claude["context_length"], claude["name"]) == (1_000_000, "Claude-Fake")
    assert set(unknown) == UNKNOWN
    assert local["pricing"] == {"prompt": "0", "completion": "0"}
    assert auto["context_length"] == 1_000_000, "the longest of all"
    assert auto["owned_by"] == "gateway"
    assert not auto.keys() & {"pricing", "name", "top_provider"}, "each answer tells who gave it at which price"
    for each in found.values():
        assert each["object"] == "model"


def test_one_model_and_ops_centers_list_are_the_same(served: Served) -> None:
    found = priced(served)

    for name in ("maker/model", "auto"):
        assert served.client().models.retrieve(name).to_dict() == found[name]
    assert listed(served.client("/api/v1/llm")) == found
    with pytest.raises(APIStatusError) as refused:
        served.client().models.retrieve("none")
    assert refused.value.status_code == 404


def test_a_key_sees_the_models_it_may_use(served: Served) -> None:
    for path in ("/v1", "", "/api/v1/llm"):
        assert list(listed(served.client(path, NARROW))) == ["unknown"]
        with pytest.raises(APIStatusError) as refused:
            served.client(path, "gw_live_nobody_0123456789").models.list()
        assert refused.value.status_code == 401
    assert served.get("/v1/models").status_code == 401


def test_a_client_without_v1_in_its_base_url(served: Served) -> None:
    found = listed(served.client(""))

    assert list(found) == EVERY
    assert {**found["unknown"]}.keys() == UNKNOWN | {"name", "provider"}
    assert served.client("").models.retrieve("gpt-4o").id == "gpt-4o"


def test_gatewayz_catalogue(served: Served) -> None:
    priced(served)
    documented = example("gatewayz", "GET", "/models").response
    found = served.get("/models", provider="OpenRouter")

    assert found.status_code == 200
    maker, both = found.json()["data"]
    same_shape(documented, {**found.json(), "data": [maker]}, more={"", "data[]", "data[].pricing"})
    assert (maker["id"], maker["name"], maker["provider"]) == ("maker/model", "Maker: Model", "maker")
    assert maker["pricing"]["prompt"] == 0.0000025
    assert both["id"] == "both"
    assert found.json()["count"] == 2
    assert "pricing" not in both, "nobody knows what its first target costs"


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({}, EVERY),
        ({"limit": "2"}, EVERY[:2]),
        ({"limit": "2", "offset": "4"}, EVERY[4:6]),
        ({"offset": "6"}, ["auto"]),
        ({"offset": "7"}, []),
        ({"limit": "", "offset": ""}, EVERY),
        ({"provider": "maker"}, ["maker/model"]),
        ({"provider": "anthropic"}, ["claude"]),
        ({"provider": "router", "offset": "1"}, ["both"]),
        ({"provider": "portkey"}, []),
        ({"provider": "gateway"}, ["auto"]),
    ],
)
def test_gatewayz_filter_and_pages(served: Served, params: dict[str, str], names: list[str]) -> None:
    found = served.get("/models", **params).json()

    assert [model["id"] for model in found["data"]] == names
    assert (found["success"], found["count"]) == (True, len(names))


@pytest.mark.parametrize(("field", "value"), [("limit", "0"), ("limit", "1001"), ("limit", "x"), ("offset", "-1")])
def test_gatewayz_pages_that_are_none(served: Served, field: str, value: str) -> None:
    refused = served.get("/models", **{field: value})

    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == field


def test_gatewayz_providers(served: Served) -> None:
    found = served.get("/models/providers")

    documented = example("gatewayz", "GET", "/models/providers").response
    same_shape(documented, found.json(), nullable={"data[].official_url"})
    assert {each["slug"]: each["model_count"] for each in found.json()["data"]} == {
        "anthropic": 1,
        "here": 1,
        "maker": 1,
        "mistralai": 1,
        "openai": 2,
    }
    assert served.get("/models/providers", STATIC, gateway="router", moderated_only="true").json()["count"] == 2
    refused = served.get("/models/providers", limit="0")
    assert refused.status_code == 400
    assert "limit" in refused.text


def test_anthropics_client_has_its_own_list(served: Served) -> None:
    priced(served)
    with Anthropic(base_url=served.gateway.root, api_key=STATIC, max_retries=0, timeout=30) as client:
        found = {model.id: model for model in client.models.list()}

    assert list(found) == EVERY
    assert found["claude"].to_dict()["max_input_tokens"] == 1_000_000
    assert found["claude"].type == "model"
    assert "max_input_tokens" not in found["unknown"].to_dict()


def test_anthropics_own_client_reads_the_fakes_list(served: Served) -> None:
    with Anthropic(base_url=served.anthropic.root, api_key=fake_anthropic.KEY, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["claude-fake", "claude-other", "claude-old"]
