"""Asking providers for their lists of models, with their own credentials."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias
from urllib.parse import quote, urljoin, urlsplit

import httpx
import orjson

from gateway.contract.catalogue import Details
from gateway.domain.catalogue.lists import APIS, ListApi, NoList, read
from gateway.domain.catalogue.model import MOST, Listing, listed_at
from gateway.providers.bedrock import region_of
from gateway.providers.bedrock.sigv4 import Signer
from gateway.settings.kinds import ProviderKind, kind_of
from gateway.settings.model import Provider

DEADLINE: Final = 30.0
"""Seconds that a provider has for its whole list."""
_LARGEST: Final = 33_554_432  # bytes of one page
_PAGES: Final = 50
_AT_ONCE: Final = 8  # providers asked at the same time
_SKIPPED: Final = {
    "llama_cpp": "its models are those of this machine",
    "none": "its API has no list that names what a target names",
}

Fetched: TypeAlias = "Listing | Failed | Skipped"


class Failed(str):
    """Why a provider's list could not be had. It holds no secret and nothing that the provider answered."""

    __slots__ = ()


class Skipped(str):
    """Why a provider is not asked."""

    __slots__ = ()


async def fetch_all(providers: Sequence[Provider], deadline: float = DEADLINE) -> dict[str, Fetched]:
    """Each provider's list, or why there is none, by the provider's name. One that fails disturbs no other."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(provider: Provider) -> Fetched:
        async with turns:
            return await fetch(provider, deadline)

    found = await asyncio.gather(*(one(provider) for provider in providers))
    return {provider.name: each for provider, each in zip(providers, found, strict=True)}


async def fetch(provider: Provider, deadline: float = DEADLINE) -> Fetched:
    """One provider's list."""
    kind = kind_of(provider.kind)
    if kind is None:
        return Skipped(_SKIPPED["llama_cpp"])
    if not kind.models or kind.api not in APIS:
        return Skipped(_SKIPPED["none"])
    try:
        async with asyncio.timeout(deadline):
            return await _listing(provider, kind, APIS[kind.api])
    except TimeoutError:
        return Failed(f"did not give its list within {deadline:g} s")
    except NoList as error:
        return Failed(f"what it answered is no list of models: {error}")
    except _Status as error:
        return Failed(f"answered with status {error}")
    except (httpx.HTTPError, OSError) as error:
        return Failed(f"can't be reached: {type(error).__name__}")
    except Exception as error:
        return Failed(f"can't be asked: {type(error).__name__}")


class _Status(Exception):
    """An answer that is none."""


async def _listing(provider: Provider, kind: ProviderKind, api: ListApi) -> Listing:
    began = datetime.now(UTC)
    url = _first_url(provider, kind, api)
    models: dict[str, Details] = {}
    async with _client(provider) as client:
        for _ in range(_PAGES):
            page = read(api, await _document(client, url, _headers(provider, kind, api, url)))
            for name, details in page.models.items():
                models.setdefault(name, details)
            following = None if page.following is None else _following(url, api, page.following)
            if following is None or len(models) > MOST:
                break
            url = following
    kept = dict(list(models.items())[:MOST])
    complete = following is None and len(kept) == len(models)
    return Listing(listed_at(provider.base_url), began.strftime("%Y-%m-%dT%H:%M:%SZ"), kept, complete)


def _first_url(provider: Provider, kind: ProviderKind, api: ListApi) -> str:
    base, path = _http_base(provider), kind.models
    if kind.api == "cohere" and base.endswith("/v2"):
        base = base.removesuffix("/v2") + "/v1"  # the second version has no list
    elif kind.api == "bedrock":
        base = base.replace("://bedrock-runtime.", "://bedrock.", 1)
        path = "/foundation-models"
    return base + path + ("?" + api.query if api.query else "")


def _http_base(provider: Provider) -> str:
    base = provider.base_url or ""
    return "http://localhost" if base.startswith("unix:") else listed_at(base)


def _following(url: str, api: ListApi, following: str) -> str | None:
    """The next page's URL. One of another place is not asked: it would get the credential."""
    if api.cursor is not None:
        bare = url.partition("?")[0]
        return f"{bare}?{api.query}&{api.cursor}={quote(following, safe='')}"
    there, here = urlsplit(urljoin(url, following)), urlsplit(url)
    return there.geturl() if there[:2] == here[:2] and there != here else None


def _headers(provider: Provider, kind: ProviderKind, api: ListApi, url: str) -> dict[str, str]:
    headers = {"accept": "application/json", **dict(api.headers)}
    if provider.api_key is not None:
        scheme = f"{kind.auth.scheme} " if kind.auth.scheme else ""
        headers[kind.auth.header] = f"{scheme}{provider.api_key}"
    elif kind.api == "bedrock" and "access_key_id" in provider.options:
        headers.update(_signed(provider, url))
    headers.update((name.lower(), value) for name, value in provider.headers.items())
    return headers


def _signed(provider: Provider, url: str) -> Mapping[str, str]:
    parts, options = urlsplit(url), provider.options
    region = options.get("region") or region_of(urlsplit(_http_base(provider)).hostname or "")
    signer = Signer(
        options["access_key_id"], options["secret_access_key"], region, session_token=options.get("session_token")
    )
    host = parts.netloc.rpartition("@")[2].removesuffix(":443" if parts.scheme == "https" else ":80")
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    return dict(signer.sign("GET", target, {"host": host}, b"", time.time()))


def _client(provider: Provider) -> httpx.AsyncClient:
    base = provider.base_url or ""
    uds = base.removeprefix("unix:") if base.startswith("unix:") else None
    verify: ssl.SSLContext | bool = False  # nothing to verify without TLS, and loading authorities takes its time
    if base.startswith("https:"):
        verify = ssl.create_default_context()
        if provider.ca_file is not None:
            verify.load_verify_locations(provider.ca_file)
        if not provider.verify_tls:
            verify.check_hostname, verify.verify_mode = False, ssl.CERT_NONE
    transport = httpx.AsyncHTTPTransport(verify=verify, uds=uds, proxy=provider.proxy)
    # A proxy of the environment is not the provider's: the data plane does not use it either.
    return httpx.AsyncClient(transport=transport, timeout=DEADLINE, follow_redirects=False, trust_env=False)


async def _document(client: httpx.AsyncClient, url: str, headers: Mapping[str, str]) -> object:
    body = bytearray()
    async with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code != 200:
            raise _Status(answer.status_code)
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > _LARGEST:
                raise NoList(f"it is larger than {_LARGEST} bytes")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NoList("expected JSON") from None
