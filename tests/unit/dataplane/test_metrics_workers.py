"""The metrics of real gateways: two workers that answer as one, and what only a whole gateway can count."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict

from tests.support.fake_openai import KEY, FakeOpenAI
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.scraped import Scraped, scrape

PATIENCE = 30.0
BODY = {"model": "fake-chat", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


def configuration(fake: FakeOpenAI, **changes: Any) -> dict[str, Any]:
    provider = {"name": "fake", "base_url": fake.base_url, "api_key": KEY, "retry": {"attempts": 1}}
    return {
        "server": {"port": 0, "drain": 5.0},
        "data_dir": "data",
        "providers": [{**provider, "breaker": {"failures": 2, "cooldown": 600}}],
        "models": [
            {"name": name, "targets": [{"provider": "fake", "model": name}]}
            for name in ("fake-chat", "error-503", "gated")
        ],
        "keys": [{"key": "gw_live_metrics_0123456789", "name": "metrics"}],
        **changes,
    }


def ask(gateway: RunningGateway, **changes: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {gateway.key}"}
    return httpx.post(gateway.base_url + "/chat/completions", json={**BODY, **changes}, headers=headers)


def until(gateway: RunningGateway, found: Callable[[Scraped], bool]) -> Scraped:
    """Scrape until ``found``: what other processes count is up to a second old."""
    deadline = time.monotonic() + PATIENCE
    while not found(scraped := scrape(gateway.root)):
        assert time.monotonic() < deadline, sorted(map(str, scraped.samples))
        time.sleep(0.02)
    return scraped


def workers_that_answered(gateway: RunningGateway) -> set[int]:
    lines = [json.loads(line) for line in tuple(gateway.stderr) if line.startswith("{")]
    return {line["pid"] for line in lines if line["logger"] == "gateway.access"}


def test_whichever_worker_answers_tells_the_sum(fake: FakeOpenAI, tmp_path: Path) -> None:
    with running_gateway(configuration(fake, server={"port": 0, "workers": 2}), tmp_path, command="proxy") as gateway:
        sent = 0
        deadline = time.monotonic() + PATIENCE
        while len(workers_that_answered(gateway)) < 2:
            assert time.monotonic() < deadline
            assert ask(gateway).status_code == 200
            sent += 1
        until(gateway, lambda scraped: scraped.sum("gateway_requests_total") == sent)
        scrapes = [scrape(gateway.root) for _ in range(12)]
        assert {scraped.sum("gateway_requests_total") for scraped in scrapes} == {sent}
        assert {scraped.sum("gen_ai_server_request_duration_seconds_count") for scraped in scrapes} == {sent}
        told = {sample.labels["process"] for sample in scrapes[0].samples if "process" in sample.labels}
        assert {"worker-0", "worker-1", "supervisor"} <= told

        os.kill(min(workers_that_answered(gateway)), signal.SIGKILL)
        seen = []

        def is_back(scraped: Scraped) -> bool:
            seen.append(scraped.sum("gateway_requests_total"))
            return scraped.sum("gateway_process_restarts_total") == 1

        until(gateway, is_back)
        for _ in range(10):
            assert ask(gateway).status_code == 200
            seen.append(scrape(gateway.root).sum("gateway_requests_total"))
        until(gateway, lambda scraped: scraped.sum("gateway_requests_total") == sent + 10)
        # A worker publishes what it tells before it tells it, so no counter ever falls.
        assert seen == sorted(seen)
        assert seen[0] >= sent
    assert list((tmp_path / "data" / "run").glob("metrics-*")) == []


@pytest.fixture(scope="module")
def gateway(fake: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(configuration(fake), tmp_path_factory.mktemp("metrics"), command="proxy") as running:
        yield running


def test_a_prometheus_that_asks_for_openmetrics_gets_it(gateway: RunningGateway) -> None:
    ask(gateway)
    answer = httpx.get(gateway.root + "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in strict(answer.text)}  # type: ignore[no-untyped-call]
    assert families["gateway_requests"].type == "counter"
    assert families["gen_ai_server_time_to_first_token_seconds"].type == "histogram"
    assert answer.text.endswith("# EOF\n")


def test_open_streams_and_requests_in_flight(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    headers = {"authorization": f"Bearer {gateway.key}"}
    body = {**BODY, "model": "gated", "stream": True, "metadata": {"gate": "open-streams"}}
    before = scrape(gateway.root)
    fake.gates.release("open-streams")
    with httpx.stream("POST", gateway.base_url + "/chat/completions", json=body, headers=headers) as answer:
        pieces = answer.iter_raw()  # kept: without it httpx would close the connection
        assert next(pieces)
        during = scrape(gateway.root)
        assert during.sum("gateway_open_streams", provider="fake") == before.sum("gateway_open_streams") + 1
        assert during.sum("gateway_requests_in_flight") == before.sum("gateway_requests_in_flight") + 1
        assert during.sum("gateway_upstream_connections", provider="fake") >= 1
    after = until(gateway, lambda scraped: scraped.sum("gateway_requests_in_flight") == 0)
    assert after.sum("gateway_open_streams") == 0
    assert after.sum("gateway_requests_total", outcome="cancelled") == 1


def test_a_refusal_is_counted_by_its_code(gateway: RunningGateway) -> None:
    httpx.post(gateway.base_url + "/chat/completions", json=BODY)
    ask(gateway, model="nobody-knows-it")
    scraped = scrape(gateway.root)
    assert scraped.sum("gateway_refused_requests_total", code="missing_api_key", status="401") == 1
    assert scraped.sum("gateway_refused_requests_total", code="model_not_found", status="404") == 1


def test_a_target_that_rests_is_seen(gateway: RunningGateway) -> None:
    assert scrape(gateway.root).sum("gateway_breaker_open", target="error-503") == 0
    assert httpx.get(gateway.root + "/health").json()["status"] == "healthy"
    for _ in range(2):
        assert ask(gateway, model="error-503").status_code == 503
    scraped = scrape(gateway.root)
    assert scraped.sum("gateway_upstream_errors_total", target="error-503", reason="status_503") == 2
    assert scraped.sum("gateway_breaker_open", provider="fake", target="error-503") == 1
    assert scraped.sum("gateway_breaker_open") == 1
    health = httpx.get(gateway.root + "/health")
    assert health.status_code == 200
    assert health.json()["status"] == "degraded"
    provider = next(each for each in health.json()["components"] if each["name"] == "provider:fake")
    assert provider == {
        "name": "provider:fake",
        "status": "degraded",
        "message": "Resting after failures: error-503.",
    }
    assert httpx.get(gateway.root + "/ready").status_code == 200


def test_health_has_the_fields_of_both_references(gateway: RunningGateway) -> None:
    for path in ("/health", "/ready"):
        body = httpx.get(gateway.root + path).json()
        assert list(body) == ["status", "timestamp", "version", "uptime_seconds", "components"]
        assert isinstance(body["uptime_seconds"], int)
        assert [set(each) for each in body["components"]] == [{"name", "status", "message"}] * 2
    assert httpx.get(gateway.root + "/live").json() == {"status": "healthy"}
    ping = httpx.get(gateway.root + "/ping").json()
    assert list(ping) == ["status", "timestamp", "uptime", "version"]
    assert ping["status"] == "pong"


def test_reloads_are_counted_and_a_failed_one_is_seen(fake: FakeOpenAI, tmp_path: Path) -> None:
    good = configuration(fake)

    def told(result: str, ok: int) -> Callable[[httpx.Client], bool]:
        def check(client: httpx.Client) -> bool:
            scraped = scrape(str(client.base_url).rstrip("/"))
            counted = scraped.sum("gateway_config_reloads_total", process="supervisor", result=result)
            return counted >= 1 and scraped.sum("gateway_config_last_reload_successful") == ok

        return check

    with running_gateway(good, tmp_path, command="proxy") as gateway:
        first = scrape(gateway.root).sum("gateway_config_last_reload_success_timestamp_seconds")
        assert scrape(gateway.root).sum("gateway_config_last_reload_successful") == 1
        gateway.reload({**good, "modles": []}, told("failed", 0))
        assert scrape(gateway.root).sum("gateway_config_last_reload_success_timestamp_seconds") == first
        gateway.reload(good, told("ok", 1))
        until(gateway, lambda scraped: scraped.sum("gateway_config_reloads_total", process="worker", result="ok") >= 1)
        assert scrape(gateway.root).sum("gateway_config_last_reload_success_timestamp_seconds") > first


def test_a_plugins_failures_are_counted(fake: FakeOpenAI, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from gateway.plugin.api import Plugin, Request\n\n\n"
        "class Broken(Plugin):\n"
        '    name = "broken"\n\n'
        "    def on_request(self, request: Request) -> None:\n"
        '        raise RuntimeError("no")\n'
    )
    plugins = [{"name": "broken", "fail": "open", "path": "broken.py"}]
    with running_gateway(configuration(fake, plugins=plugins), tmp_path, command="proxy") as gateway:
        assert ask(gateway).status_code == 200
        scraped = scrape(gateway.root)
        assert scraped.sum("gateway_plugin_failures_total", plugin="broken", hook="on_request") == 1
