"""How much an app has used."""

from __future__ import annotations

from msgspec import Struct

from gateway.contract.policy import LimitPolicy
from gateway.domain.apps.model import App
from gateway.domain.credentials import repo
from gateway.domain.learning.sums import altogether, chosen
from gateway.domain.ledger import totals
from gateway.domain.ledger.query import Filter
from gateway.domain.usage.calls import since
from gateway.domain.usage.counters import Counters
from gateway.domain.work import Work

SUCCEEDED = ("ok", "cached")
"""How a request ends that got its whole answer. One that was cut off, left, refused or in error did not."""
_NUMBERS = ("requests", "cost_nanos", "duration_ms")


class AppUsage(Struct, frozen=True):
    """An app's requests of models by how they went; ``cost_nanos`` is what is priced of them, ``duration_ms`` all their
    time. ``counted`` are its requests of any kind, as they count for its tier's limit of a month. ``routed`` are
    decisions of learned routes."""

    counted: int = 0
    succeeded: int = 0
    failed: int = 0
    cost_nanos: int = 0
    duration_ms: int = 0
    routed: int = 0

    @property
    def requests(self) -> int:
        """Those of models."""
        return self.succeeded + self.failed

    @property
    def average_ms(self) -> int:
        """How long a request took, in whole milliseconds; 0 where there was none."""
        return round(self.duration_ms / self.requests) if self.requests else 0


async def usage_this_month(work: Work, counters: Counters, app: App) -> AppUsage:
    """What an app's credential has used in this calendar month (UTC), by the ledger's sums; nobody's rights are asked
    for. What the data plane counts, where the tier has a limit, may be more: calls of other APIs."""
    credential = await repo.of_app(work.session, app.app_id)
    if credential is None:
        return AppUsage()
    began = since("month", work.now)
    wanted = Filter(organization=app.organization_id, from_ns=began, credentials=(credential.id,))
    found = await totals.sums(work.session, wanted, ("outcome",), None, _NUMBERS)
    succeeded = sum(item.requests for item in found if item.group[0] in SUCCEEDED)
    requests = sum(item.requests for item in found)
    key = LimitPolicy("key", credential.id, "requests", 0, window="month", source="plan").key
    return AppUsage(
        counted=max(requests, (await counters.used([key], work.now.timestamp()))[key]),
        succeeded=succeeded,
        failed=requests - succeeded,
        cost_nanos=sum(item.cost_nanos for item in found),
        duration_ms=sum(item.duration_ms for item in found),
        routed=altogether(await chosen(work.session, app.organization_id, credential.id, began)).decisions,
    )
