"""``gateway router report``, ``export`` and ``reset`` over a real database."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.contract.learned_routes import Decision, Estimate
from gateway.domain.actor import SYSTEM
from gateway.domain.learning.feedback import Told, track
from gateway.domain.learning.learner import catch_up
from gateway.domain.ledger.ingest import Batch, Line, ingest
from gateway.domain.ledger.rating import NoPrices
from gateway.domain.work import Works
from gateway.store.engine import Store
from tests.support.postgres import import_models
from tests.support.usage import usage_event

MASTER_KEY = "gw_live_the-master-key"
STRONG, CHEAP = Estimate("p/strong", 0.9, 1_000_000, 2.0, 0.5), Estimate("p/cheap", 0.6, 100_000, 1.0, 0.5)
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``gateway router`` in a directory with a configuration."""
    monkeypatch.chdir(tmp_path)
    Path("gateway.yaml").write_text(f"master_key: {MASTER_KEY}\n")
    return lambda *arguments: CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["router", *arguments])


async def fill(count: int) -> None:
    """Decisions drawn evenly, with what came of them: the strong target's answers are good, every second other."""
    import_models()
    store = Store.open(None, "data")
    works = Works(store, master_key=MASTER_KEY)
    await store.migrate()
    events = []
    for number in range(count):
        taken, other = (STRONG, CHEAP) if number % 2 else (CHEAP, STRONG)
        events.append(
            usage_event(
                id=f"req_{number}", provider="p", target=taken.target[2:], cost_nanos=taken.cost_nanos,
                started_ns=_now() - 10**9, ended_ns=_now(), first_token_ns=None,
                decision=Decision(taken.target, "code", "quality", 0.9, (taken, other), explored=True),
            )
        )  # fmt: skip
    lines = [Line(place, msgspec.json.encode(event)) for place, event in enumerate(events)]
    await ingest(store, Batch("s", 0, count, lines), NoPrices())
    async with works.begin(SYSTEM) as work:
        for number in range(count):
            await track(work, Told(id=f"req_{number}", quality=1.0 if number % 2 else float(number % 4 == 0)))
    await catch_up(works)
    await store.close()


def _now() -> int:
    return time.time_ns()


def done(result: Result) -> Any:
    """What a command printed as JSON."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_report_with_its_control_beside_each_claim(run: Run) -> None:
    asyncio.run(fill(300))
    made = done(run("report", "--json"))
    values = {each["name"]: each for each in made["policies"]}
    assert made["decisions"] == made["told"] == 300
    assert values["p/strong"]["quality"]["value"] == pytest.approx(1.0, abs=0.1)
    assert values["p/cheap"]["quality"]["value"] == pytest.approx(0.5, abs=0.1)
    assert values["router"]["cost_nanos"]["value"] == pytest.approx(550_000)
    claim = next(each for each in made["claims"] if each["target"] == "p/strong")
    assert claim["saved"]["value"] == pytest.approx(0.45, abs=0.01)
    assert claim["shuffled_saved"]["value"] == pytest.approx(0.45, abs=0.05)
    shown = run("report", "--against", "p/strong").output
    assert "300 decisions of 30 days; of 300 the quality is known" in shown
    assert "It saves against always taking p/strong, at a lower quality." in shown
    assert "the savings may be those of mixing" in shown
    assert "shuffled 4" in shown
    assert done(run("report", "--json", "--organization", "nobody"))["decisions"] == 0
    assert "Nothing can be said" in run("report", "--organization", "nobody").output
    unknown = run("report", "--against", "p/none")
    assert (unknown.exit_code, "p/none: no candidate" in unknown.output) == (1, True)


def test_what_was_learnt_is_exported_and_forgotten(run: Run) -> None:
    asyncio.run(fill(60))
    exported = done(run("export", "--organization", "acme"))
    assert exported["routes"]["organization"] == "acme"
    assert exported["state"]["rewarded"] == 60
    assert run("reset", "--organization", "acme").output == "forgotten: what was learnt for acme\n"
    for command in ("export", "reset"):
        gone = run(command, "--organization", "acme")
        assert (gone.exit_code, "Nothing was learnt" in gone.output) == (1, True)


def test_without_a_database(run: Run) -> None:
    found = run("report")
    assert (found.exit_code, "there is no database in" in found.output) == (2, True)
    assert not Path("data/gateway.db").exists()
