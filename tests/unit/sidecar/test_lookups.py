"""A worker that has just started, and a real sidecar with the database that the benchmark of look-ups fills."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks.admission import accounts
from gateway.bus.embedded import EmbeddedPolicy
from gateway.dataplane.admission.registry import Registry
from gateway.dataplane.credentials import Learnt
from gateway.kernel.secrets import Seal, digest_of
from gateway.settings.model import Settings
from tests.support.sidecar import MASTER, running_sidecar

KEYS = 1_000


def test_every_key_is_learnt_with_its_limits_and_none_is_refused(tmp_path: Path) -> None:
    secrets = asyncio.run(accounts.fill(str(tmp_path / "data"), MASTER, KEYS))
    limit = {"metric": "requests", "limit": 1_000, "window": "hour"}
    with running_sidecar({"plans": [{"name": "bench", "limits": [limit]}]}, tmp_path) as sidecar:
        asyncio.run(_learn(sidecar.address, secrets))


async def _learn(address: str, secrets: list[str]) -> None:
    learnt = Learnt(EmbeddedPolicy(address, MASTER), Registry(), Settings(), Seal(MASTER))
    asked = [secret.encode() for secret in secrets]
    assert [learnt.get(digest_of(secret), secret) for secret in asked] == [None] * KEYS
    found = await asyncio.gather(*map(learnt.ask, asked))
    assert [one.id for one in found] == [f"key_{number:08d}" for number in range(KEYS)]
    assert {(one.policy.status, one.policy.role, one.policy.plan) for one in found} == {
        ("active", "developer", "bench")
    }
    for one in found:
        told = [(limit.scope, limit.scope_id, limit.metric, limit.source) for limit in one.policy.limits]
        organization = one.policy.organization
        assert told == [
            ("key", one.id, "requests", "limit"),
            ("key", one.id, "tokens", "limit"),
            ("organization", organization, "cost", "budget"),
            ("organization", organization, "requests", "plan"),
        ]
    assert len(learnt) == KEYS
    await learnt.close()
