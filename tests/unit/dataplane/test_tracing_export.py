"""Real gateways, a fake provider and a collector: which spans arrive, and that a bad collector disturbs nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.fake_openai import KEY, FakeOpenAI
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.otlp import Collector, Span, ended

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BODY = {"model": "small", "messages": [{"role": "user", "content": "PROMPTTEXT"}], "max_tokens": 9}
ENV = {"OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


def configuration(fake: FakeOpenAI, telemetry: dict[str, Any]) -> dict[str, Any]:
    provider = {"base_url": fake.base_url, "api_key": KEY, "retry": {"attempts": 1}}
    targets = [{"provider": "first", "model": "failing"}, {"provider": "second", "model": "fake-chat"}]
    return {
        "server": {"port": 0, "drain": 5.0},
        "data_dir": "data",
        "telemetry": telemetry,
        "providers": [{"name": "first", **provider}, {"name": "second", **provider}],
        "models": [
            {"name": "small", "targets": targets[1:]},
            {"name": "fallen", "targets": targets},
            {"name": "hearing", "targets": [{"provider": "second", "model": "fake-transcribe"}]},
        ],
        "keys": [{"key": "gw_live_tracing_0123456789", "name": "traced", "organization": "acme"}],
    }


def ask(gateway: RunningGateway, headers: dict[str, str] | None = None, **changes: Any) -> httpx.Response:
    given = {"authorization": f"Bearer {gateway.key}", **(headers or {})}
    return httpx.post(gateway.base_url + "/chat/completions", json={**BODY, **changes}, headers=given, timeout=30)


def last_parent(fake: FakeOpenAI, mark: int) -> list[str | None]:
    return [request.header("traceparent") for request in fake.recording.since(mark)]


def tree(spans: list[Span]) -> tuple[Span, list[Span]]:
    """The server span and its children in order. Every span must make sense."""
    (root,) = [span for span in spans if span.kind == "SERVER"]
    children = sorted((span for span in spans if span is not root), key=lambda span: span.start)
    assert all(ended(span) for span in spans)
    assert all((span.parent, span.trace, span.kind) == (root.id, root.trace, "CLIENT") for span in children)
    assert all(root.start <= span.start and span.end <= root.end + 1_000_000_000 for span in children)
    return root, children


def test_a_stream_that_fell_back_is_one_trace(fake: FakeOpenAI, tmp_path: Path) -> None:
    with Collector() as collector:
        telemetry = {"traces": True, "endpoint": collector.url}
        with running_gateway(configuration(fake, telemetry), tmp_path, ENV, command="proxy") as gateway:
            mark = fake.recording.mark()
            sent = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
            answer = ask(gateway, sent, model="fallen", stream=True, stream_options={"include_usage": True})
            assert answer.status_code == 200
            assert "[DONE]" in answer.text
            root, (first, second) = tree(collector.wait(3))
            assert (root.trace, root.parent, root.name) == (TRACE, PARENT, "chat fallen")
            assert root.attributes["gen_ai.request.model"] == "fallen"
            assert root.attributes["gen_ai.response.model"] == "fake-chat"
            assert root.attributes["gen_ai.provider.name"] == "second"
            assert root.attributes["gen_ai.request.max_tokens"] == 9
            assert root.attributes["gen_ai.request.stream"] is True
            assert root.attributes["gen_ai.usage.output_tokens"] > 0
            assert root.attributes["gateway.request_id"] == answer.headers["x-request-id"]
            assert root.attributes["gateway.credential"] == "traced"
            assert (root.attributes["server.address"], root.attributes["server.port"]) == gateway.address
            assert root.resource["service.name"] == "llm-gateway"
            assert root.resource["deployment.environment.name"] == "test"
            assert (first.name, first.failed, first.attributes["error.type"]) == ("chat failing", True, "503")
            assert (second.name, second.failed) == ("chat fake-chat", False)
            assert second.attributes["server.port"] == httpx.URL(fake.base_url).port
            # Each call's span is the parent the provider was told.
            assert last_parent(fake, mark) == [f"00-{TRACE}-{span.id}-01" for span in (first, second)]
            assert {request.header("tracestate") for request in fake.recording.since(mark)} == {"vendor=1"}
            assert collector.paths == {"/v1/traces"}
            assert "PROMPTTEXT" not in str(collector.wait(3))


def test_refused_unsampled_and_uploaded_requests(fake: FakeOpenAI, tmp_path: Path) -> None:
    with Collector() as collector:
        telemetry = {"traces": True, "endpoint": collector.url + "/v1/traces", "sample": 0.0}
        sampled = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        with running_gateway(configuration(fake, telemetry), tmp_path, ENV, command="proxy") as gateway:
            mark = fake.recording.mark()
            assert ask(gateway).status_code == 200
            (parent,) = last_parent(fake, mark)
            assert parent is not None
            assert parent.endswith("-00")
            assert httpx.post(gateway.base_url + "/chat/completions", json=BODY, headers=sampled).status_code == 401
            (refused,) = collector.wait(1)
            assert refused.attributes["error.type"] == "missing_api_key"
            assert refused.attributes["http.response.status_code"] == 401
            mark = fake.recording.mark()
            uploaded = httpx.post(
                gateway.base_url + "/audio/transcriptions",
                data={"model": "hearing"},
                files={"file": ("a.wav", b"RIFF" * 100)},
                headers={"authorization": f"Bearer {gateway.key}", **sampled},
            )
            assert uploaded.status_code == 200
            root, (call,) = tree(collector.wait(3)[1:])
            assert root.name == "audio.transcriptions hearing"
            assert last_parent(fake, mark) == [f"00-{TRACE}-{call.id}-01"]


def test_off_passes_the_clients_trace_on_as_it_came(fake: FakeOpenAI, tmp_path: Path) -> None:
    with running_gateway(configuration(fake, {"traces": False}), tmp_path, command="proxy") as gateway:
        mark = fake.recording.mark()
        sent = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
        assert ask(gateway, sent).status_code == 200
        (seen,) = fake.recording.since(mark)
        assert {name: seen.header(name) for name in sent} == sent


def test_traces_are_turned_on_and_off_by_a_reload(fake: FakeOpenAI, tmp_path: Path) -> None:
    with Collector() as collector:
        off, on = (configuration(fake, {"traces": traces, "endpoint": collector.url}) for traces in (False, True))

        def is_traced(client: httpx.Client) -> bool:
            mark = fake.recording.mark()
            client.post("/v1/chat/completions", json=BODY)
            return last_parent(fake, mark) != [None]

        with running_gateway(off, tmp_path, ENV, command="proxy") as gateway:
            gateway.reload(on, is_traced)
            assert collector.wait(2)
            gateway.reload(off, lambda client: not is_traced(client))


@pytest.mark.parametrize("trouble", ["refuses", "fails", "is mute", "is not there"])
def test_a_bad_collector_disturbs_nothing(fake: FakeOpenAI, tmp_path: Path, trouble: str) -> None:
    status = {"refuses": 400, "fails": 503}.get(trouble, 200)
    with Collector(status, mute=trouble == "is mute") as collector:
        url = "http://127.0.0.1:9" if trouble == "is not there" else collector.url
        with running_gateway(
            configuration(fake, {"traces": True, "endpoint": url}), tmp_path, ENV, command="proxy"
        ) as gateway:
            assert ask(gateway).status_code == 200
            if trouble != "is not there":
                collector.wait_asked()
            for _ in range(20):
                assert ask(gateway).status_code == 200
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 20  # and its exit code was 0
        assert gateway.key not in gateway.log()
