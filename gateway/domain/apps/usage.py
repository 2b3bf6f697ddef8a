"""How much an app has used."""

from __future__ import annotations

from msgspec import Struct

from gateway.domain.apps.model import App
from gateway.domain.credentials import repo
from gateway.domain.ledger import totals
from gateway.domain.ledger.query import Filter
from gateway.domain.usage.calls import since
from gateway.domain.work import Work

SUCCEEDED = ("ok", "cached")
"""How a request ends that got its whole answer. One that was cut off, left, refused or in error did not."""
_NUMBERS = ("requests", "cost_nanos", "duration_ms")


class AppUsage(Struct, frozen=True):
    """An app's requests by how they went; ``cost_nanos`` is what is priced of them, ``duration_ms`` all their time."""

    succeeded: int = 0
    failed: int = 0
    cost_nanos: int = 0
    duration_ms: int = 0

    @property
    def requests(self) -> int:
        """All of them."""
        return self.succeeded + self.failed

    @property
    def average_ms(self) -> int:
        """How long a request took, in whole milliseconds; 0 where there was none."""
        return round(self.duration_ms / self.requests) if self.requests else 0


async def usage_this_month(work: Work, app: App) -> AppUsage:
    """What an app's credential has used in this calendar month (UTC), by the ledger's sums; nobody's rights are asked
    for."""
    credential = await repo.of_app(work.session, app.app_id)
    if credential is None:
        return AppUsage()
    wanted = Filter(organization=app.organization_id, from_ns=since("month", work.now), credentials=(credential.id,))
    found = await totals.sums(work.session, wanted, ("outcome",), None, _NUMBERS)
    succeeded = sum(item.requests for item in found if item.group[0] in SUCCEEDED)
    return AppUsage(
        succeeded=succeeded,
        failed=sum(item.requests for item in found) - succeeded,
        cost_nanos=sum(item.cost_nanos for item in found),
        duration_ms=sum(item.duration_ms for item in found),
    )
