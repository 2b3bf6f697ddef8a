"""One scrape for both planes; and what is told of the sidecar while it is away, and when it runs alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.support.fake_openai.server import KEY, FakeOpenAI
from tests.support.gateway import START_SECONDS, RunningGateway, children_of, is_sidecar, running_gateway
from tests.support.scraped import Scraped, scrape
from tests.support.sidecar import MASTER, running_sidecar

STATIC = "gw_live_static_key"


def until(gateway: RunningGateway, holds: Callable[[Scraped], bool]) -> Scraped:
    """The first scrape of which it holds."""
    deadline = time.monotonic() + START_SECONDS
    while not holds(found := scrape(gateway.root)):
        assert time.monotonic() < deadline, sorted(found.names())
        time.sleep(0.1)
    return found


def test_one_scrape_tells_both_planes(tmp_path: Path) -> None:
    with FakeOpenAI() as fake:
        config: dict[str, Any] = {
            "server": {"port": 0, "workers": 2},
            "master_key": MASTER,
            "data_dir": "data",
            "providers": [{"name": "fake", "base_url": fake.base_url, "api_key": KEY}],
            "models": [{"name": "good", "targets": [{"provider": "fake", "model": "fake-chat"}]}],
            "pricing": [{"provider": "fake", "model": "fake-chat", "input_per_1k": 0.002, "output_per_1k": 0.008}],
            "keys": [{"key": STATIC, "name": "static"}],
        }
        with running_gateway(config, tmp_path) as gateway:
            until(gateway, lambda found: found.sum("gateway_sidecar_up") == 1)
            body = {"model": "good", "messages": [{"role": "user", "content": "hello"}]}
            own = {"authorization": f"Bearer {STATIC}"}
            assert httpx.post(f"{gateway.base_url}/chat/completions", json=body, headers=own).status_code == 200
            assert httpx.get(f"{gateway.root}/api/v1/costs", headers=own).status_code == 403
            found = until(gateway, lambda found: found.sum("gateway_ingest_entries_total") == 1)
            assert found.sum("gateway_ingest_batch_duration_seconds_count") == 1
            assert found.sum("gateway_ingest_failing") == 0
            assert found.sum("cost_calculations_total", provider="fake") == 1
            assert found.sum("http_requests_total", reference="llm_cost_ops", status="403") == 1
            found = until(gateway, lambda found: found.sum("gateway_requests_total", outcome="ok") == 1)
            assert found.sum("process_resident_memory_bytes", process="sidecar") > 10_000_000
            told = {s.labels["process"] for s in found.samples if s.name == "process_resident_memory_bytes"}
            assert {"sidecar", "worker-0", "worker-1", "supervisor"} <= told
            (sidecar,) = [pid for pid in children_of(gateway.pid) if is_sidecar(pid)]
            os.kill(sidecar, signal.SIGSTOP)  # one that hangs must not make a scrape hang
            began = time.monotonic()
            found = scrape(gateway.root)
            assert time.monotonic() - began < 5.0
            assert found.sum("gateway_sidecar_up") == 0
            assert found.sum("gateway_requests_total", outcome="ok") == 1
            os.kill(sidecar, signal.SIGKILL)
            until(gateway, lambda found: found.sum("gateway_sidecar_up") == 1)


def test_a_sidecar_alone_tells_its_own(tmp_path: Path) -> None:
    with running_sidecar({"sidecar": {"listen": "127.0.0.1:0"}}, tmp_path) as sidecar:
        url = next(item for item in sidecar.ready["urls"] if item.startswith("http"))
        found = scrape(url)
        assert found.sum("gateway_ingest_entries_total") == 0
        assert found.sum("process_resident_memory_bytes", process="sidecar") > 10_000_000
        assert found.sum("gateway_build_info") == 1
        assert httpx.get(f"{url}/internal/metrics").status_code == 403
