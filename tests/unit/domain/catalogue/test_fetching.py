"""The providers are asked as their APIs want it, with their credentials, and one that fails says why."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.domain.catalogue import fetching
from gateway.domain.catalogue.fetching import Failed, Skipped, fetch, fetch_all
from gateway.domain.catalogue.lists import APIS
from gateway.domain.catalogue.model import MOST, Listing
from gateway.settings.kinds import kind_of
from gateway.settings.model import Provider
from tests.support import fake_anthropic, fake_openai
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_vendors import ACCESS_KEY, KEY, SECRET_KEY, FakeVendors

SECRET = "sk-very-secret-value"


class Odd(FakeOpenAI):
    """A provider whose lists are none. ``asked`` are the paths that came, with their credentials."""

    asked: list[tuple[str, str | None]]

    def build(self) -> ASGIApp:
        self.asked = []
        return Starlette(routes=[Route("/{name}/models", self._answer), Route("/{name}/elsewhere", self._answer)])

    async def _answer(self, request: Request) -> Response:
        self.asked.append((request.url.path, request.headers.get("authorization")))
        name, page = request.path_params["name"], int(request.query_params.get("page", "0"))
        if name == "refuses":
            return JSONResponse({"error": {"message": f"Incorrect API key: {SECRET}"}}, 401)
        if name == "moves":
            return RedirectResponse("/moves/elsewhere")
        if name == "page":
            return Response("<html>")
        if name == "hangs":
            await asyncio.sleep(3600)
        if name == "large":
            return JSONResponse({"data": [{"id": "x" * 100} for _ in range(100)]})
        if name == "many":
            return JSONResponse({"data": [{"id": f"m{number}"} for number in range(MOST + 1)]})
        if name == "pages":
            links = {"next": f"/pages/models?page={page + 1}"} if page < 2 else {}
            return JSONResponse({"data": [{"id": f"m{page}"}], "links": links})
        if name == "turns":
            return JSONResponse({"data": [{"id": f"m{page}"}], "links": {"next": f"?page={page + 1}"}})
        return JSONResponse({"data": [{"id": "m"}], "links": {"next": "http://127.0.0.1:9/models"}})


@pytest.fixture(scope="module")
def odd() -> Iterator[Odd]:
    with Odd() as running:
        assert isinstance(running, Odd)
        yield running


@pytest.fixture(scope="module")
def vendors() -> Iterator[FakeVendors]:
    with FakeVendors() as running:
        assert isinstance(running, FakeVendors)
        yield running


def at(odd: Odd, name: str, **more: Any) -> Provider:
    """A provider that answers as its name says."""
    base = odd.base_url.removesuffix("/v1")
    return Provider(name=name, base_url=f"{base}/{name}", **{"api_key": SECRET, **more})


async def listed(provider: Provider) -> Listing:
    found = await fetch(provider)
    assert isinstance(found, Listing), found
    return found


async def test_openai() -> None:
    with FakeOpenAI() as fake:
        base = fake.base_url
        found = await listed(Provider(name="p", base_url=base, api_key=fake_openai.KEY))

    assert list(found.models) == list(fake_openai.MODELS)
    assert (found.base_url, found.complete) == (base, True)


async def test_anthropic_page_by_page() -> None:
    with fake_anthropic.FakeAnthropic() as fake:
        provider = Provider(name="p", kind="anthropic", base_url=fake.base_url, api_key=fake_anthropic.KEY)
        found = await listed(provider)

    assert list(found.models) == ["claude-fake", "claude-other", "claude-old"]
    assert found.models["claude-fake"].context_length == 1_000_000


@pytest.mark.parametrize(
    ("kind", "base", "names"),
    [
        ("gemini", "/gemini", ["gemini-model", "gemini-other", "fails"]),
        ("cohere", "/cohere/v2", ["cohere-model", "cohere-other", "fails"]),
        (
            "mistral",
            "/mistral/v1",
            ["mistral-model", "mistral-model-latest", "mistral-other", "mistral-other-latest"],
        ),
        ("openrouter", "/like", ["maker/model", "router/auto"]),
    ],
)
async def test_vendors_with_a_key(vendors: FakeVendors, kind: str, base: str, names: list[str]) -> None:
    found = await listed(Provider(name="p", kind=kind, base_url=vendors.root + base, api_key=KEY))

    assert list(found.models) == names


async def test_bedrock_signed(vendors: FakeVendors) -> None:
    options = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "region": "us-east-1"}
    provider = Provider(name="p", kind="bedrock", base_url=f"{vendors.root}/bedrock", options=options)
    found = await listed(provider)

    assert list(found.models) == ["maker.bedrock-model-v1:0", "bedrock-model"]
    wrong = Provider(
        name="p", kind="bedrock", base_url=f"{vendors.root}/bedrock", options={**options, "secret_access_key": "x"}
    )
    assert await fetch(wrong) == "answered with status 401"


def test_where_amazon_lists_its_models() -> None:
    provider = Provider(name="p", kind="bedrock", base_url="https://bedrock-runtime.eu-west-1.amazonaws.com")
    kind = kind_of("bedrock")
    assert kind is not None

    url = fetching._first_url(provider, kind, APIS["bedrock"])
    assert url == "https://bedrock.eu-west-1.amazonaws.com/foundation-models"


async def test_one_that_fails_disturbs_no_other(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_LARGEST", 100)
    names = ("refuses", "moves", "page", "large", "fine")
    nowhere = Provider(name="nowhere", base_url="http://user:secret@127.0.0.1:9/v1", api_key=SECRET)
    broken = Provider(name="broken", base_url="http://127.0.0.1:99999/v1", api_key=SECRET)
    azure = Provider(name="azure", kind="azure", base_url="http://a.test/openai", api_key=SECRET)
    local = Provider(name="local", kind="llama_cpp", model="m")
    providers = [*(at(odd, name) for name in names), nowhere, broken, azure, local]

    found = await fetch_all(providers)

    assert list(found) == [provider.name for provider in providers]
    told = {name: str(each) for name, each in found.items() if isinstance(each, Failed)}
    assert told == {
        "refuses": "answered with status 401",
        "moves": "answered with status 307",
        "page": "what it answered is no list of models: expected JSON",
        "large": "what it answered is no list of models: it is larger than 100 bytes",
        "nowhere": "can't be reached: ConnectError",
        "broken": told["broken"],
    }
    assert told["broken"].startswith("can't be ")
    assert isinstance(found["fine"], Listing)
    assert isinstance(found["azure"], Skipped)
    assert isinstance(found["local"], Skipped)
    assert SECRET not in repr(found)


async def test_one_that_hangs(odd: Odd) -> None:
    assert await fetch(at(odd, "hangs"), deadline=0.1) == "did not give its list within 0.1 s"


async def test_pages_are_followed_within_bounds_and_never_elsewhere(odd: Odd) -> None:
    assert list((await listed(at(odd, "pages"))).models) == ["m0", "m1", "m2"]
    elsewhere = await listed(at(odd, "elsewhere"))
    assert list(elsewhere.models) == ["m"]
    turns = await listed(at(odd, "turns"))
    assert (len(turns.models), turns.complete) == (fetching._PAGES, False)
    many = await listed(at(odd, "many"))
    assert (len(many.models), many.complete) == (MOST, False)


async def test_headers_of_the_provider_are_sent_and_user_information_is_not(odd: Odd) -> None:
    provider = at(odd, "fine", headers={"Authorization": "Bearer other"})
    url = (provider.base_url or "").replace("://", "://user:pass@")
    odd.asked.clear()
    await listed(provider)
    await listed(Provider(name="p", base_url=url))

    assert odd.asked == [("/fine/models", "Bearer other"), ("/fine/models", None)]


async def test_a_unix_socket(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"GET /models HTTP/1.1\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 22\r\nconnection: close\r\n\r\n{"data":[{"id":"m1"}]}')
        await writer.drain()
        writer.close()

    path = tmp_path / "s.sock"
    server = await asyncio.start_unix_server(answer, path)
    async with server:
        found = await listed(Provider(name="p", base_url=f"unix:{path}"))

    assert list(found.models) == ["m1"]
