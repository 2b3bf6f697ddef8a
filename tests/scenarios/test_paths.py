"""Where things are: every alias, the health and metrics paths, and what a wrong path or method is told."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.scenarios.envelope import checked
from tests.support.fake_openai import MODELS, FakeOpenAI
from tests.support.gateway import RunningGateway

PREFIXES = ["/v1", "", "/api/v1/llm"]
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("/chat/completions", {"model": "fake-chat", "messages": [{"role": "user", "content": "hi"}]}),
    ("/completions", {"model": "fake-chat", "prompt": "hi"}),
    ("/embeddings", {"model": "fake-embed", "input": "hi"}),
    ("/moderations", {"model": "fake-moderation", "input": "hi"}),
    ("/rerank", {"model": "fake-rerank", "query": "hi", "documents": ["hi"]}),
    ("/audio/speech", {"model": "fake-speech", "input": "hi", "voice": "alloy"}),
    ("/images/generations", {"model": "fake-image", "prompt": "hi"}),
]


@pytest.fixture
def root(gateway: RunningGateway) -> Any:
    with httpx.Client(base_url=gateway.root, headers={"authorization": f"Bearer {gateway.key}"}) as client:
        yield client


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("path", "body"), CALLS, ids=[path for path, _ in CALLS])
def test_every_endpoint_under_every_prefix(
    root: httpx.Client, fake: FakeOpenAI, prefix: str, path: str, body: dict[str, Any]
) -> None:
    mark = fake.recording.mark()
    answer = root.post(prefix + path, json=body)
    assert answer.status_code == 200, answer.text
    assert [request.path for request in fake.recording.since(mark)] == ["/v1" + path]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_models(root: httpx.Client, fake: FakeOpenAI, prefix: str) -> None:
    mark = fake.recording.mark()
    listed = root.get(prefix + "/models").json()
    assert listed["object"] == "list"
    assert {"renamed", *MODELS} <= {model["id"] for model in listed["data"]}
    assert all(model["object"] == "model" for model in listed["data"])
    assert root.get(prefix + "/models/renamed").json()["id"] == "renamed"
    missing = root.get(prefix + "/models/no-such-model")
    assert missing.status_code == 404
    assert checked(missing.json())["code"] == "model_not_found"
    assert fake.recording.since(mark) == []


IMAGE = {"model": "fake-image", "prompt": "A sunset", "size": "1024x1024", "quality": "standard"}


def test_images_as_gatewayz_has_them(root: httpx.Client, fake: FakeOpenAI) -> None:
    mark = fake.recording.mark()
    answer = root.post("/images/generate", json=IMAGE)
    told = answer.json()
    assert (answer.status_code, told["success"]) == (200, True)
    assert told["data"] == root.post("/v1/images/generations", json=IMAGE).json()["data"]
    assert [request.path for request in fake.recording.since(mark)] == ["/v1/images/generations"] * 2


@pytest.mark.parametrize(
    ("change", "status", "detail"),
    [
        ({"prompt": None}, 400, "prompt"),
        ({"model": "no-such-model"}, 404, "no-such-model"),
        ({"model": "fake-chat", "prompt": 7}, 400, "prompt"),
    ],
)
def test_what_is_wrong_with_them_is_told_in_gatewayzs_envelope(
    root: httpx.Client, change: dict[str, Any], status: int, detail: str
) -> None:
    answer = root.post("/images/generate", json=IMAGE | change)
    told = answer.json()
    assert (answer.status_code, told["status_code"]) == (status, status)
    assert detail in told["detail"]
    assert answer.headers["x-request-id"]
    bare = httpx.post(root.base_url.join("/images/generate"), json=IMAGE)
    assert (bare.status_code, bare.json()["status_code"]) == (401, 401)


def test_models_need_a_key(gateway: RunningGateway) -> None:
    answer = httpx.get(gateway.base_url + "/models")
    assert answer.status_code == 401
    checked(answer.json())


@pytest.mark.parametrize("path", ["/health", "/live", "/ready"])
def test_health_needs_no_key(gateway: RunningGateway, path: str) -> None:
    answer = httpx.get(gateway.root + path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")


def test_metrics_count_requests_and_tokens(gateway: RunningGateway, root: httpx.Client) -> None:
    def counted() -> dict[tuple[str, ...], float]:
        answer = httpx.get(gateway.root + "/metrics")
        assert answer.status_code == 200
        samples = [each for family in text_string_to_metric_families(answer.text) for each in family.samples]
        return {
            (each.name, *sorted(each.labels.values())): each.value
            for each in samples
            if each.labels.get("model") == "fake-other" and each.name.endswith("_total")
        }

    before = counted()
    for _ in range(3):
        body = {"model": "fake-other", "messages": [{"role": "user", "content": "one two three four five six seven"}]}
        usage = root.post("/v1/chat/completions", json=body).json()["usage"]
    grown = {name: value - before.get(name, 0) for name, value in counted().items()}
    assert [value for (name, *_), value in grown.items() if "requests" in name] == [3]
    tokens = [value for (name, *_), value in grown.items() if "token" in name]
    assert {3 * usage["prompt_tokens"], 3 * usage["completion_tokens"]} <= set(tokens)


@pytest.mark.parametrize("path", ["/v1/no/such/thing", "/v1/chat", "/v1/chat/completions/x", "/api/v1/llm/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_an_unknown_path(root: httpx.Client, fake: FakeOpenAI, path: str, method: str) -> None:
    mark = fake.recording.mark()
    answer = root.request(method, path)
    assert answer.status_code == 404
    assert path in checked(answer.json())["message"]
    assert fake.recording.since(mark) == []


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/chat/completions", "POST"),
        ("PUT", "/chat/completions", "POST"),
        ("DELETE", "/embeddings", "POST"),
        ("POST", "/models", "GET"),
        ("PATCH", "/audio/transcriptions", "POST"),
    ],
)
def test_a_wrong_method(
    root: httpx.Client, fake: FakeOpenAI, prefix: str, method: str, path: str, allowed: str
) -> None:
    mark = fake.recording.mark()
    answer = root.request(method, prefix + path)
    assert answer.status_code == 405
    assert allowed in answer.headers["allow"]
    assert method in checked(answer.json())["message"]
    assert fake.recording.since(mark) == []


def test_head_has_no_body(root: httpx.Client) -> None:
    known = root.head("/v1/models")
    assert (known.status_code, known.content) == (200, b"")
    wrong = root.head("/v1/chat/completions")
    assert (wrong.status_code, wrong.content) == (405, b"")
    missing = root.head("/v1/nothing")
    assert (missing.status_code, missing.content) == (404, b"")
    assert root.get("/v1/models").status_code == 200


def test_every_answer_of_an_endpoint_has_its_own_id(root: httpx.Client) -> None:
    bodies = [CALLS[0][1], CALLS[0][1], {"model": "no-such-model", "messages": []}, {}]
    answers = [root.post("/v1/chat/completions", json=body) for body in bodies]
    assert [answer.status_code < 300 for answer in answers] == [True, True, False, False]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4
