"""Requests, events and a way to run a plugin as the pipeline does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from gateway.contract.usage import Tokens, UsageEvent
from gateway.plugin.api import Plugin, PluginContext, Request
from gateway.plugin.chain import Chain
from gateway.plugin.failures import Fail
from gateway.plugin.load import build_chain
from gateway.settings.model import PluginUse


def make_request(
    body: dict[str, Any] | None = None,
    *,
    endpoint: str = "chat.completions",
    organization: str = "acme",
    headers: dict[str, str] | None = None,
    chain: Chain | None = None,
) -> Request:
    """A request as the pipeline makes it; ``body`` None is a request without a JSON body."""
    request = Request()
    request.id = "req-1"
    request.endpoint = endpoint
    request.model = str((body or {}).get("model", "m"))
    request.stream = bool((body or {}).get("stream", False))
    request.credential = "demo"
    request.organization = organization
    request.headers = headers or {}
    request.response_headers = {}
    request.tags = {}
    request.state = {}
    request.is_json = body is not None
    request._raw = orjson.dumps(body) if body is not None else b"--x"
    request._body = None
    request.turns = chain.turns if chain is not None else (1 << 62) - 1
    return request


def chain_of(*plugins: Plugin, fail: Fail = "closed") -> Chain:
    """A chain of plugin instances that share a fail policy."""
    return Chain([(plugin, fail) for plugin in plugins])


def configured(name: str, config: dict[str, Any] | None = None, *, redis_url: str | None = None) -> Chain:
    """A chain of one shipped plugin, made as from ``gateway.yaml``."""
    context = PluginContext(data_dir=".", redis_url=redis_url)
    return build_chain([PluginUse(name=name, with_=config or {})], context, Path())


def usage_event(**changes: Any) -> UsageEvent:
    """A usage event of an answered request."""
    values: dict[str, Any] = {
        "id": "req-1",
        "endpoint": "chat.completions",
        "started_ns": 1,
        "first_token_ns": 2,
        "ended_ns": 3,
        "credential": "demo",
        "organization": "acme",
        "model": "m",
        "provider": "p",
        "target": "t",
        "attempts": [],
        "tokens": Tokens(),
        "estimated": False,
        "stream": False,
        "outcome": "ok",
        "status": 200,
        "cost_nanos": None,
        "tags": {},
    }
    return UsageEvent(**{**values, **changes})


def sse(*documents: Any) -> list[bytes]:
    """Each document as an event; a text goes in as it is, such as ``[DONE]``."""
    return [
        b"data: " + (document.encode() if isinstance(document, str) else orjson.dumps(document)) + b"\n\n"
        for document in documents
    ]


def delta(content: str | None = None, *, index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """One chunk of a streamed chat completion."""
    inner: dict[str, Any] = dict(fields)
    if content is not None:
        inner["content"] = content
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": index, "delta": inner, "finish_reason": finish}],
    }


async def run_stream(chain: Chain, request: Request, events: Iterable[bytes]) -> list[bytes]:
    """What the client gets of these events."""
    out = [await chain.chunk(request, event) for event in events]
    return [event for event in out if event]
