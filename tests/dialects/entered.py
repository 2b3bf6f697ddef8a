"""Requests through the gateway as the ledger has them, without a gateway."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from gateway.domain.analytics.periods import to_ns
from gateway.domain.ledger.ingest import Batch, Line, ingest
from gateway.domain.ledger.rating import NoPrices
from gateway.domain.work import Works
from gateway.store.engine import Store
from tests.support.usage import usage_event


async def called(
    store: Store, at: datetime, credential: str, number: int, *, milliseconds: int = 300, days: int = 0, **more: Any
) -> None:
    """Have the ledger hold a request for 0.25 dollars, of a credential of ``acme``, begun days before ``at``."""
    started = to_ns(at) - days * 86_400_000_000_000
    event = usage_event(
        id=f"req_{number}", credential=credential, started_ns=started, ended_ns=started + milliseconds * 1_000_000,
        **{"first_token_ns": None, "cost_nanos": 250_000_000, **more},
    )  # fmt: skip
    line = Line(number, msgspec.json.encode(event))
    entered = await ingest(store, Batch(f"test/{number}", 0, number + 1, [line]), NoPrices())
    assert entered.entries == 1


def stopped(works: Works, monkeypatch: pytest.MonkeyPatch) -> datetime:
    """The time that it is from now on for all works: no hour, day or month ends during a test."""
    now = datetime.now(UTC)
    monkeypatch.setattr(works, "_clock", lambda: now)
    return now
