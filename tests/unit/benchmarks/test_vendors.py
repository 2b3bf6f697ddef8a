"""What the mock upstreams say is read by the translations whose cost they are there to measure."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from benchmarks import vendors
from benchmarks.answers import TEXT
from gateway.providers.base import Question, Translator, Upstream
from gateway.providers.registry import translator_for

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 5}
OPTIONS = {"access_key_id": "k", "secret_access_key": "s", "region": "us-east-1"}


def asked(kind: str) -> tuple[Translator, Any]:
    translator = translator_for(kind)
    assert translator is not None
    upstream = Upstream("claude-sonnet-4-5", "http://host", None if kind == "bedrock" else "k", options=OPTIONS)
    return translator, translator.request(Question({**CHAT, "stream": True}, upstream, now=time.time())).memo


@pytest.mark.parametrize("kind", [kind for kind in vendors.KINDS if kind != "openai"])
def test_every_api(kind: str) -> None:
    translator, memo = asked(kind)
    whole, events = getattr(vendors, kind)(vendors.FEW)
    answer = translator.response(whole, memo)
    assert isinstance(answer, dict)
    assert answer["choices"][0]["message"]["content"] == TEXT
    assert answer["usage"]["total_tokens"] == 176
    stream, frames = translator.stream(memo), translator.frames()
    chunks = [chunk for event in frames.feed(b"".join(events)) for chunk in stream.feed(event)]
    chunks += stream.end()
    assert "stop" in [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    told = [chunk["choices"][0]["delta"].get("content") for chunk in chunks if chunk["choices"]]
    assert [piece for piece in told if piece] == list(vendors.pieces(vendors.FEW))
    assert chunks[-1]["usage"]["total_tokens"] == 176


def test_openai() -> None:
    whole, events = vendors.openai(vendors.FEW)
    assert orjson.loads(whole)["choices"][0]["message"]["content"] == TEXT
    assert sum(b'"content":"' in event for event in events) == vendors.FEW + 1
