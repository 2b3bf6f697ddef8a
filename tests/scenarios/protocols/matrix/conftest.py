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
from tests.scenarios.protocols.matrix.stand import GATEWAY_KEY, Cell, Providers, config
from tests.support.fake_anthropic import FakeAnthropic
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_responses import FakeResponses
from tests.support.fake_vendors import FakeVendors
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.overheard import Overheard, overheard


@pytest.fixture(scope="session")
def vendors() -> Iterator[FakeVendors]:
    """The vendors with APIs of their own."""
    with FakeVendors() as running:
        assert isinstance(running, FakeVendors)
        yield running


@pytest.fixture(scope="session")
def fakes(gpt: FakeOpenAI, claude: FakeAnthropic, vendors: FakeVendors) -> Iterator[Providers]:
    """All of them."""
    native = FakeResponses()
    with native:
        yield Providers(gpt, native, claude, vendors)


@pytest.fixture(scope="session")
def matrix(fakes: Providers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """The gateway."""
    key = generate_private_key(65537, 2048)
    fakes.vendors.account_key = key.public_key()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"client_email": "a@p.iam", "private_key": pem, "token_uri": f"{fakes.vendors.root}/google/token"}
    with running_gateway(config(fakes, account), tmp_path_factory.mktemp("matrix"), command="proxy") as running:
        yield running


@pytest.fixture(scope="session")
def engine_of_matrix(matrix: RunningGateway) -> Iterator[Overheard]:
    """Its engine of local models."""
    with overheard(matrix.config_path.parent / "data" / "run") as listening:
        yield listening


@pytest.fixture(scope="session")
def clients(matrix: RunningGateway) -> Iterator[dict[str, Client]]:
    """The SDKs, by the protocol."""
    with (
        OpenAI(base_url=matrix.base_url, api_key=GATEWAY_KEY, max_retries=0, timeout=120) as openai,
        Anthropic(base_url=matrix.root, api_key=GATEWAY_KEY, max_retries=0, timeout=120) as anthropic,
    ):
        made: tuple[Client, ...] = (Chat(openai), Responses(openai), Messages(anthropic))
        yield {client.name: client for client in made}


@pytest.fixture
def cell(clients: dict[str, Client], client: str, kind: str, fakes: Providers, request: pytest.FixtureRequest) -> Cell:
    """One client before one kind."""
    fake = request.getfixturevalue("engine_of_matrix") if kind == "llama_cpp" else fakes.of(kind)
    return Cell(clients[client], kind, fake)
