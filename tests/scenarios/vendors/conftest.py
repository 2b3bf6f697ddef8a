"""The vendors' fakes, and one gateway in front of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from openai import OpenAI

from tests.support.fake_vendors import ACCESS_KEY, KEY, SECRET_KEY, FakeVendors
from tests.support.fake_vendors.server import CLIENT, FAILS, SECRET, TENANT
from tests.support.gateway import RunningGateway, running_gateway

GATEWAY_KEY = "gw_live_vendors_0123456789"
VENDORS = ("gemini", "bedrock", "entra", "groq", "portkey")
"""Of those that the matrix of protocols (``tests/scenarios/protocols/matrix``) asks whatever is asked here, some."""
HELLO: list[Any] = [{"role": "user", "content": "Grüß dich"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "description": "Looks.", "parameters": PARAMETERS}}
    for name in ("weather", "time")
]
SAID = "You said: Grüß dich"

MEDIA = {
    "titan": ("bedrock", "amazon.titan-embed-text-v2:0"),
    "bedrock-embed": ("bedrock", "cohere.embed-v4:0"),
    "bedrock-rerank": ("bedrock", "cohere.rerank-v3-5:0"),
    "canvas": ("bedrock", "amazon.nova-canvas-v1:0"),
    "imagen": ("vertex", "imagen-4.0-generate-001"),
    "painter": ("gemini", "gemini-3-pro-image"),
    "speaker": ("gemini", "gemini-3.8-flash-tts"),
    "listener": ("vertex", "gemini-3.5-transcribe"),
}
"""Models that are for something else than chat: their provider, and its name of them."""


def providers(vendors: FakeVendors, account: str) -> list[dict[str, Any]]:
    """Every vendor by its own name."""
    entra = {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": SECRET, "authority": f"{vendors.root}/entra"}
    signed = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "region": "us-east-1"}
    return [
        {"name": "gemini", "kind": "gemini", "base_url": f"{vendors.root}/gemini", "api_key": KEY},
        {
            "name": "vertex",
            "kind": "vertex",
            "base_url": f"{vendors.root}/vertex",
            "options": {"project": "p", "service_account": account},
        },
        {"name": "bedrock", "kind": "bedrock", "base_url": f"{vendors.root}/bedrock", "options": signed},
        {"name": "cohere", "kind": "cohere", "base_url": f"{vendors.root}/cohere/v2", "api_key": KEY},
        {"name": "mistral", "kind": "mistral", "base_url": f"{vendors.root}/mistral/v1", "api_key": KEY},
        {"name": "azure", "kind": "azure", "base_url": f"{vendors.root}/azure", "api_key": KEY},
        {"name": "entra", "kind": "azure", "base_url": f"{vendors.root}/azure", "options": entra},
        {"name": "groq", "kind": "groq", "base_url": f"{vendors.root}/like", "api_key": KEY},
        {"name": "portkey", "kind": "portkey", "base_url": f"{vendors.root}/like", "api_key": KEY},
        {"name": "lenient", "kind": "groq", "base_url": f"{vendors.root}/like", "api_key": KEY, "drop_params": ["n"]},
        {"name": "deepseek", "kind": "deepseek", "base_url": f"{vendors.root}/like", "api_key": KEY},
    ]


@pytest.fixture(scope="session")
def vendors() -> Iterator[FakeVendors]:
    """All of them, with fakes of where tokens come from."""
    with FakeVendors() as running:
        assert isinstance(running, FakeVendors)
        yield running


@pytest.fixture(scope="session")
def gateway(vendors: FakeVendors, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with a model and a failing one for each vendor, named after it."""
    key = generate_private_key(65537, 2048)
    vendors.account_key = key.public_key()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"client_email": "a@p.iam", "private_key": pem, "token_uri": f"{vendors.root}/google/token"}
    made = providers(vendors, json.dumps(account))
    quick = {"retry": {"attempts": 1}, "breaker": {"failures": 1000}}
    names = [each["name"] for each in made]
    config = {
        "server": {"host": "127.0.0.1", "port": 0, "drain": 5.0},
        "data_dir": "data",
        "providers": [{**each, **quick} for each in made],
        "models": [
            *({"name": name, "targets": [{"provider": name, "model": f"{name}-model:1"}]} for name in names),
            *({"name": name, "targets": [{"provider": at, "model": it}]} for name, (at, it) in MEDIA.items()),
            *({"name": f"{name}-fails", "targets": [{"provider": name, "model": FAILS}]} for name in names),
        ],
        "keys": [{"key": GATEWAY_KEY, "name": "vendors", "organization": "tests"}],
    }
    with running_gateway(config, tmp_path_factory.mktemp("vendors"), command="proxy") as running:
        yield running


@pytest.fixture
def openai(gateway: RunningGateway) -> Iterator[OpenAI]:
    """OpenAI's SDK, for the gateway."""
    with OpenAI(base_url=gateway.base_url, api_key=GATEWAY_KEY, max_retries=0, timeout=30) as client:
        yield client
