"""What was rated anew: one record in the usage, every entry in the costs, and the same sums everywhere."""

from __future__ import annotations

from gateway.contract.usage import Tokens
from gateway.domain.actor import SYSTEM
from gateway.domain.ledger.corrections import Meant
from gateway.domain.ledger.rating import NoPrices, Rating
from gateway.domain.ledger.service import LedgerService
from tests.dialects.conftest import Api
from tests.dialects.llm_cost_ops.ledger import filled


class Flat(NoPrices):
    """Every request costs as much."""

    def __init__(self, nanos: int) -> None:
        self.nanos = nanos

    def __call__(
        self, provider: str | None, model: str, tokens: Tokens, at_ns: int, organization: str | None = None
    ) -> Rating | None:
        """See :class:`gateway.domain.ledger.rating.Rater`."""
        return Rating(self.nanos, {"input": self.nanos}, f"price_{self.nanos}", "USD")


async def rerated(api: Api, provider: str, model: str, nanos: int) -> int:
    """Rate a model anew; gives how many entries that were."""
    async with api.sidecar.works.begin(SYSTEM) as work:
        return (await LedgerService(work, Flat(nanos)).rerate(Meant(provider=provider, model=model))).entries


async def test_a_record_costs_what_its_last_correction_says(every_api: Api) -> None:
    owner = await filled(every_api)
    assert await rerated(every_api, "openai", "one", 7_000_000_000) == 2
    assert await rerated(every_api, "openai", "one", 3_000_000_000) == 2
    assert await rerated(every_api, "anthropic", "none", 1_000_000_000) == 1

    usage = (await owner.http.get("/api/v1/usage", params={"order": "asc"})).json()
    assert [row["estimated_cost"] for row in usage["data"]] == [3.0, 3.0, 1.5, 6.0, 1.0]
    assert usage["pagination"]["total_count"] == 5
    one = await owner.http.get(f"/api/v1/usage/{usage['data'][0]['id']}")
    assert one.json()["data"]["estimated_cost"] == 3.0

    body = (await owner.http.get("/api/v1/costs", params={"page": 1, "per_page": 100})).json()
    assert body["pagination"]["total_count"] == 5 + 5 * 2
    data = body["data"]
    assert (data["total_cost"], data["total_requests"], data["unpriced_requests"]) == (14.5, 5, 0)
    assert sum(item["cost"] or 0 for item in data["breakdown"]) == data["total_cost"]
    assert sum(item["requests"] for item in data["breakdown"]) == data["total_requests"]
    asked = {"filters": {"model_id": "none"}, "sort_by": "created_at", "order": "asc"}
    found = (await owner.http.post("/api/v1/costs/query", json=asked)).json()["data"]
    assert [(item["kind"], item["total_cost"], item["requests"]) for item in found] == [
        ("external", None, 1), ("reversal", None, -1), ("adjustment", 1.0, 1)
    ]  # fmt: skip
    assert found[1]["corrects"] == found[0]["id"]
    for group_by in ("provider", "day", "project"):
        grouped = (await owner.http.get("/api/v1/costs", params={"group_by": group_by})).json()["data"]
        assert (grouped["total_cost"], grouped["total_requests"]) == (14.5, 5)
        assert sum(item["cost"] for item in grouped["breakdown"]) == 14.5
