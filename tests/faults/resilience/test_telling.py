"""What a client, an operator and the ledger are told of the attempts of a request."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from gateway.cli.main import cli
from gateway.dataplane.gauges import Gauges
from gateway.settings.model import Breaker, Retry
from tests.faults.resilience.stage import IMPATIENT, Got, stage
from tests.support.gateway import running_gateway
from tests.support.ports import free_port
from tests.support.wire import wire

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
_ENTRY = re.compile(r'([\w-]+);dur=(\d+\.\d+)(?:;desc="([^"]*)")?')


def timings(got: Got) -> dict[str, tuple[float, str]]:
    """Milliseconds and description of each entry of Server-Timing, which must be well-formed."""
    entries = got.headers["server-timing"].split(", ")
    found = [_ENTRY.fullmatch(entry) for entry in entries]
    assert all(found), entries
    return {match[1]: (float(match[2]), match[3] or "") for match in found if match is not None}


@BOTH
async def test_one_attempt(tmp_path: Path, stream: bool) -> None:
    async with stage(tmp_path, "healthy") as on:
        got = await on.ask(stream=stream)
        assert (got.headers["x-gateway-attempts"], got.headers["x-gateway-target"]) == ("1", "up/healthy")
        assert list(timings(got)) == ["gateway", "upstream"]
        assert await on.reasons() == ["ok"]


@BOTH
async def test_attempts_that_led_to_an_answer(tmp_path: Path, stream: bool) -> None:
    async with stage(tmp_path, "503", spared="healthy", retry=Retry(attempts=2, backoff=0.1)) as on:
        got = await on.ask(stream=stream)
        assert (got.headers["x-gateway-attempts"], got.headers["x-gateway-target"]) == ("3", "spare/healthy")
        told = timings(got)
        assert list(told) == ["gateway", "attempt-1", "attempt-2", "wait", "upstream"]
        assert told["attempt-1"][1] == told["attempt-2"][1] == "up/503 status_503"
        assert told["gateway"][0] < 5_000
        assert sum(milliseconds for milliseconds, _ in told.values()) <= got.seconds * 1000 + 1
        event = await on.event()
        assert [(each.provider, each.model, each.status, each.reason) for each in event.attempts] == [
            ("up", "503", 503, "status_503"),
            ("up", "503", 503, "status_503"),
            ("spare", "healthy", 200, "ok"),
        ]
        assert (event.provider, event.target, event.outcome, event.tokens.prompt) == ("spare", "healthy", "ok", 10)
        assert event.attempts[0].started_ns <= event.attempts[1].started_ns <= event.attempts[2].started_ns


@BOTH
async def test_attempts_that_led_to_none(tmp_path: Path, stream: bool) -> None:
    async with stage(tmp_path, "silence", spared="reset-before-headers", timeouts=IMPATIENT) as on:
        got = await on.ask(stream=stream)
        assert (got.status, got.code) == (502, "upstream_reset")
        assert got.headers["x-gateway-attempts"] == "3"
        assert got.headers["x-gateway-target"] == "spare/reset-before-headers"
        told = timings(got)
        assert [description for _, description in told.values() if description] == [
            "up/silence first_token_timeout",
            "spare/reset-before-headers reset",
            "spare/reset-before-headers reset",
        ]
        assert told["attempt-1"][0] >= 250
        event = await on.event()
        assert (event.outcome, event.tokens.prompt, event.tokens.completion) == ("error", 0, 0)


async def test_breakers_in_the_metrics(tmp_path: Path) -> None:
    breaker = Breaker(failures=2, cooldown=0.2, wait=0)
    async with stage(tmp_path, "503", retry=Retry(attempts=1), breaker=breaker) as on:
        worker = on.gateway.worker
        Gauges(worker, on.gateway.sink.file, on.gateway.connections)

        async def told() -> dict[str, float]:
            async with wire(on.gateway.address) as client:
                await client.send(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
                text = (await client.answer()).body.decode()
            return {
                sample.name: sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.labels == {"provider": "up", "target": "503"}
            }

        await on.ask()
        metrics = await told()
        assert metrics["gateway_breaker_open"] == metrics["gateway_breaker_half_open"] == 0
        assert metrics["gateway_breaker_failures"] == 1
        await on.ask()
        metrics = await told()
        assert (metrics["gateway_breaker_open"], metrics["gateway_breaker_half_open"]) == (1, 0)
        assert metrics["gateway_breaker_opened_total"] == 1
        assert metrics["gateway_breaker_waiting"] == metrics["gateway_retries_refused_total"] == 0
        state = worker.runtime.router.routes["m"].targets[0].breaker
        state.open_until = worker.loop.time()
        metrics = await told()
        assert (metrics["gateway_breaker_open"], metrics["gateway_breaker_half_open"]) == (0, 1)


def test_gateway_models_shows_what_rests(tmp_path: Path) -> None:
    """``gateway models`` beside a running gateway, whose only upstream is not there."""
    config: dict[str, Any] = {
        "server": {"port": free_port(), "drain": 2},
        "data_dir": "data",
        "master_key": "gw_test_models_rests",
        "providers": [
            {
                "name": "gone",
                "base_url": "http://127.0.0.1:9/v1",
                "retry": {"attempts": 1},
                "breaker": {"failures": 2, "cooldown": 600},
            }
        ],
        "models": [{"name": "m", "targets": [{"provider": "gone", "model": "x"}, {"provider": "gone", "model": "y"}]}],
        "keys": [{"key": "gw_test_resting", "name": "one"}],
    }
    with running_gateway(config, tmp_path, command="proxy") as gateway:
        headers = {"authorization": f"Bearer {gateway.key}"}
        for _ in range(2):
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            assert httpx.post(gateway.base_url + "/chat/completions", json=body, headers=headers).status_code == 502
        shown = CliRunner().invoke(cli, ["models", "--json", "--config", str(gateway.config_path)])
        (model,) = json.loads(shown.output)["models"]
        assert [target["breaker"] for target in model["targets"]] == [
            {"state": "open", "open": 1, "failures": 2, "waiting": 0},
            {"state": "open", "open": 1, "failures": 2, "waiting": 0},
        ]
        shown = CliRunner().invoke(cli, ["models", "--config", str(gateway.config_path)], env={"COLUMNS": "150"})
        assert "gone/x (open, 2 failures in a row)" in shown.output
