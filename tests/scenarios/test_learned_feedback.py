"""Feedback on learned routes, from the report to what workers are told, through a real sidecar that is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner

from gateway.cli.main import cli
from gateway.contract.learned_routes import Decision, Estimate, LearnedRoutes
from gateway.contract.usage import Tokens
from gateway.dataplane.clock import Clock
from gateway.dataplane.emit import FileSink
from gateway.domain.learning.keeping import ADVICE
from tests.support.sidecar import MASTER, START_SECONDS, RunningSidecar, running_sidecar
from tests.support.usage import usage_event

STRONG = Estimate("anthropic/strong", 0.8, 20_000_000, 2.0, 0.5, tokens=300)
CHEAP = Estimate("openai/cheap", 0.8, 2_000_000, 1.0, 0.5, tokens=300)
DECISIONS = 60


def routes(sidecar: RunningSidecar, organization: str) -> LearnedRoutes:
    """What a worker is told."""
    answer = sidecar.http.get("/internal/routes", params={"organization": organization})
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=LearnedRoutes)


def until(sidecar: RunningSidecar, organization: str, holds: Callable[[LearnedRoutes], bool]) -> LearnedRoutes:
    """What a worker is told, once it is so."""
    deadline = time.monotonic() + START_SECONDS
    while not holds(found := routes(sidecar, organization)):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


async def decided(folder: Path, credential: str) -> list[str]:
    """Decisions as a worker writes them: half of them for each target; gives their ids."""
    sink = FileSink(folder, 0, asyncio.get_running_loop())
    clock, now, ids = Clock(), time.time_ns(), []
    for number in range(DECISIONS):
        first, second = (STRONG, CHEAP) if number % 2 else (CHEAP, STRONG)
        provider, _, model = first.target.partition("/")
        event = usage_event(
            id=clock.request_id(), endpoint=ADVICE, organization="default", credential=credential, provider=provider,
            target=model, started_ns=now, ended_ns=now + 1_000, first_token_ns=None, attempts=[], tokens=Tokens(),
            cost_nanos=0, decision=Decision(first.target, "code", "quality", 0.9, (first, second)),
        )  # fmt: skip
        ids.append(event.id)
        sink.append(event, lambda: None)
    sink.close()
    return ids


def changed(sidecar: RunningSidecar) -> dict[str, Any]:
    """The first change of kind ``routing``, as the feed tells it."""
    with sidecar.http.stream("GET", "/internal/changes", params={"after": 0}) as answer:
        for line in answer.iter_lines():
            change: dict[str, Any] = json.loads(line or "{}")
            if change.get("kind") == "routing":
                return change
    raise AssertionError("the feed ended")


def command(*arguments: str) -> str:
    """What a command prints."""
    done = CliRunner().invoke(cli, ["router", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def registered(sidecar: RunningSidecar, organization: str) -> tuple[str, str]:
    """A new app's credential, and its public id."""
    headers = {"authorization": f"Bearer {MASTER}"}
    asked = {"name": "App", "tier": "DEVELOPER", "organizationId": organization}
    made = sidecar.http.post("/v1/apps/register", json=asked, headers=headers).json()["credentials"]
    return f"{made['appId']}:{made['secretKey']}", made["appId"]


def test_feedback_comes_to_the_workers_and_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = {"master_key": MASTER, "data_dir": str(tmp_path / "data")}
    with running_sidecar(config, tmp_path) as sidecar:
        bearer, app_id = registered(sidecar, "default")
        ids = asyncio.run(decided(tmp_path / "data" / "usage", "key_1"))
        told: list[httpx.Response] = []
        for number, id in enumerate(ids):  # at once: the first may be quicker than its decision
            report = {"requestId": id, "actualQuality": float(number % 2 == 0), "actualCost": 0.002}
            told.append(
                sidecar.http.post("/v1/analytics/track", json=report, headers={"authorization": f"Bearer {bearer}"})
            )
        assert [each.status_code for each in told] == [200] * DECISIONS, told[0].text
        assert told[0].json()["data"]["predictionAccuracy"]["costAccuracy"] == 100

        def is_learnt(found: LearnedRoutes) -> bool:
            # Every second report is on the strong target, and bad.
            whole = {each.target: each for each in found.shifts if not each.task}
            return sum(each.weight for each in whole.values()) > 1.9 * DECISIONS

        found = until(sidecar, "default", is_learnt)
        whole = {each.target: each.shift for each in found.shifts if not each.task}
        assert whole["anthropic/strong"] < -0.3 < 0.05 < whole["openai/cheap"]
        assert changed(sidecar)["id"] == "default"
        assert routes(sidecar, "another").shifts == ()

        sidecar.end(signal.SIGKILL)
        sidecar.start()
        assert routes(sidecar, "default").shifts == found.shifts

        (tmp_path / "gateway.yaml").write_text(json.dumps(config))
        report = json.loads(command("report", "--json", "--against", STRONG.target))
        assert (report["decisions"], report["told"]) == (DECISIONS, DECISIONS)
        assert report["claims"][0]["verdict"].startswith("Too few data")
        exported = json.loads(command("export", "--organization", "default"))
        assert exported["state"]["rewarded"] == DECISIONS
        command("reset", "--organization", "default")
        until(sidecar, "default", lambda found: found.shifts == ())
        shown = sidecar.http.get("/v1/analytics/dashboard", headers={"authorization": f"Bearer {MASTER}"}).json()
        assert shown["data"]["overview"]["mlRoutingRequests"] == DECISIONS
        assert app_id.startswith("app_")
