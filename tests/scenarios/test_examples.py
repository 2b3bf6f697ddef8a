"""The shipped example configurations: each is started as it stands, and does what its first lines say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.settings.load import read
from tests.support.fake_openai import KEY, FakeOpenAI
from tests.support.gateway import running_gateway

EXAMPLES = Path(__file__).parents[2] / "config" / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))
APP_KEY = "gw_live_example_0123456789"
NOWHERE = "http://127.0.0.1:9/v1"


@contextmanager
def serving(name: str, directory: Path, **urls: str) -> Iterator[httpx.Client]:
    """The example on a free port, its providers at ``urls``, and a client with its key."""
    text = (EXAMPLES / f"{name}.yaml").read_text("utf-8")
    env = dict.fromkeys(re.findall(r"\$\{(\w+_KEY)\}", text), KEY)
    with running_gateway(text, directory, {**env, **urls, "GATEWAY_KEY": APP_KEY, "PORT": "0"}) as gateway:
        headers = {"authorization": f"Bearer {APP_KEY}"}
        with httpx.Client(base_url=gateway.base_url, headers=headers, timeout=60) as client:
            yield client


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    answer = client.post(
        "/chat/completions", json={"model": "chat", "messages": [{"role": "user", "content": "hi"}], **fields}
    )
    assert answer.status_code == 200, answer.text
    return answer


def target_of(answer: httpx.Response) -> str:
    return answer.headers["x-gateway-target"]


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


def test_the_common_setups_are_there() -> None:
    assert {"primary-and-fallback", "weighted-pool", "edge-with-local-fallback", "canary"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_without_a_fault_or_a_doubt(name: str) -> None:
    path = EXAMPLES / f"{name}.yaml"
    env = dict.fromkeys(re.findall(r"\$\{(\w+_KEY)\}", path.read_text()), KEY)
    loaded = read(path, env)
    assert loaded.warnings == ()


def test_primary_and_fallback(tmp_path: Path, fake: FakeOpenAI) -> None:
    with serving("primary-and-fallback", tmp_path, PRIMARY_URL=NOWHERE, SECONDARY_URL=fake.base_url) as client:
        for stream in (False, True):
            answer = ask(client, stream=stream)
            assert target_of(answer) == "secondary/mistral-small-latest"
            assert int(answer.headers["x-gateway-attempts"]) > 1


def test_weighted_pool(tmp_path: Path, fake: FakeOpenAI) -> None:
    with serving("weighted-pool", tmp_path, EAST_URL=fake.base_url, WEST_URL=fake.base_url, SPOT_URL=NOWHERE) as client:
        drawn = {target_of(ask(client)) for _ in range(40)}
        assert drawn == {"east/llama-3.1-70b-instruct", "west/llama-3.1-70b-instruct"}
        long = [{"role": "system", "content": "one long prompt " * 400}, {"role": "user", "content": "hi"}]
        assert len({target_of(ask(client, messages=long)) for _ in range(10)}) == 1


def test_edge_with_local_fallback(tmp_path: Path, fake: FakeOpenAI) -> None:
    with serving("edge-with-local-fallback", tmp_path, CLOUD_URL=fake.base_url) as client:
        answer = ask(client)
        assert target_of(answer) == "cloud/gpt-4o-mini"
        assert "x-gateway-fallback" not in answer.headers
        fake.stop()
        answer = ask(client, max_tokens=4)
        assert target_of(answer) == "local/smollm2-135m-instruct"
        assert re.fullmatch(r"small; reason=(connect|reset|circuit_open)", answer.headers["x-gateway-fallback"])
        assert answer.json()["usage"]["completion_tokens"] > 0
        streamed = ask(client, max_tokens=4, stream=True)
        assert target_of(streamed) == "local/smollm2-135m-instruct"
        assert streamed.headers["x-gateway-fallback"].startswith("small; reason=")
        assert streamed.text.endswith("data: [DONE]\n\n")


def test_canary(tmp_path: Path, fake: FakeOpenAI) -> None:
    with serving("canary", tmp_path, STABLE_URL=fake.base_url, NEXT_URL=fake.base_url) as client:
        answers = Counter(target_of(ask(client)) for _ in range(200))
        assert set(answers) == {"stable/gpt-4o-mini", "next/chat-next"}
        assert answers["next/chat-next"] < 40
        asked = Counter(str(seen.json["model"]) for seen in fake.recording.requests)
        assert asked["gpt-4o-mini"] == answers["stable/gpt-4o-mini"]
        assert answers["next/chat-next"] < asked["chat-next"] < 80, "some are copies"
