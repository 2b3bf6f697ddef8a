"""The short version of ``make kills``: some processes die while requests run, and every rule holds afterwards."""

from __future__ import annotations

import pytest

from tests.faults.kills.run import run
from tests.faults.kills.table import faults, table

KILLS = 8
SEED = 20
LEAST = 100  # answers


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["embedded", "scaled"])
async def test_whatever_is_killed_each_answer_is_in_the_ledger_once(name: str) -> None:
    outcome = await run(name, KILLS, SEED)
    told = f"{table([outcome])}\n{faults(outcome)}\n{outcome.log}"
    assert outcome.verdict.faults == [], told
    assert outcome.kills.total() == KILLS
    assert outcome.verdict.answered > LEAST, told
    assert outcome.verdict.corrected > 0, told
