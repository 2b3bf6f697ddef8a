"""One gateway before every kind of provider, and the three clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anthropic import Anthropic
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from openai import OpenAI

from tests.scenarios.protocols.matrix.asks import Client
from tests.scenarios.protocols.matrix.chat import Chat
from tests.scenarios.protocols.matrix.messages import Messages
from tests.scenarios.protocols.matrix.responses import Responses
from tests.scenarios.protocols.matrix.stand import GATEWAY_KEY, Cell, config
from tests.support.fake_anthropic import FakeAnthropic
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_vendors import FakeVendors
from tests.support.gateway import RunningGateway, running_gateway


@pytest.fixture(scope="session")
def vendors() -> Iterator[FakeVendors]:
    """The vendors with APIs of their own."""
    with FakeVendors() as running:
        assert isinstance(running, FakeVendors)
        yield running


@pytest.fixture(scope="session")
def matrix(
    gpt: FakeOpenAI, claude: FakeAnthropic, vendors: FakeVendors, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """The gateway."""
    key = generate_private_key(65537, 2048)
    vendors.account_key = key.public_key()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"client_email": "a@p.iam", "private_key": pem, "token_uri": f"{vendors.root}/google/token"}
    made = config(gpt, claude, vendors, account)
    with running_gateway(made, tmp_path_factory.mktemp("matrix"), command="proxy") as running:
        yield running


@pytest.fixture(scope="session")
def clients(matrix: RunningGateway) -> Iterator[dict[str, Client]]:
    """The SDKs, by the protocol."""
    with (
        OpenAI(base_url=matrix.base_url, api_key=GATEWAY_KEY, max_retries=0, timeout=30) as openai,
        Anthropic(base_url=matrix.root, api_key=GATEWAY_KEY, max_retries=0, timeout=30) as anthropic,
    ):
        made: tuple[Client, ...] = (Chat(openai), Responses(openai), Messages(anthropic))
        yield {client.name: client for client in made}


@pytest.fixture
def cell(
    clients: dict[str, Client], client: str, kind: str, gpt: FakeOpenAI, claude: FakeAnthropic, vendors: FakeVendors
) -> Cell:
    """One client before one kind."""
    return Cell(clients[client], kind, {"openai": gpt, "anthropic": claude}.get(kind, vendors))
