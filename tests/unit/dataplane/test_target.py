"""What a target has ready for requests to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.dataplane.target import Target
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.settings.model import Provider


def target(**fields: Any) -> Target:
    """The model ``x`` of the provider ``a``."""
    provider = Provider(**{"name": "a", "base_url": "http://a.test/v1", **fields})
    loop = asyncio.get_running_loop()
    return Target(provider, "x", Pool(provider, provider.base_url or "unix:/none", loop, Resolver(loop)), None)


async def test_the_head_is_ready_made() -> None:
    one = target(api_key="sk-1", headers={"X-Team": "blue"})
    lines = one.head_for(b"/embeddings").decode().split("\r\n")
    assert lines[0] == "POST /v1/embeddings HTTP/1.1"
    assert set(lines[1:-1]) == {
        "host: a.test",
        "accept-encoding: identity",
        "authorization: Bearer sk-1",
        "x-team: blue",
    }
    assert lines[-1] == ""
    assert one.header == b"x-gateway-target: a/x\r\n"


@pytest.mark.parametrize(
    ("fields", "served", "not_served"),
    [
        ({}, {"chat.completions", "embeddings", "audio.speech"}, {"messages.count_tokens"}),
        ({"kind": "anthropic"}, {"chat.completions", "messages", "messages.count_tokens"}, {"audio.speech"}),
        (
            {"kind": "llama_cpp", "base_url": None, "model": "tiny"},
            {"chat.completions", "messages", "embeddings"},
            {"audio.speech"},
        ),
    ],
)
async def test_it_serves_what_its_provider_has(fields: dict[str, Any], served: set[str], not_served: set[str]) -> None:
    one = target(**fields)
    assert {name for name in served | not_served if one.serves(name)} == served
