"""The ledger as APIs change it: usage of other systems reported, prices corrected. It is read by
:class:`gateway.domain.analytics.service.Reader`."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain.fields import invalid
from gateway.domain.ledger import external
from gateway.domain.ledger.corrections import Meant, Rerated, rerate
from gateway.domain.ledger.query import NewUsage, Recorded
from gateway.domain.ledger.rating import NoPrices, Rater
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

MOST_REPORTED = 1_000


class LedgerService:
    """What can be done with the ledger, within one work. ``rater`` knows the prices; see :mod:`.rating`.

    Who does not act for the platform reports for their own organisation alone.
    """

    def __init__(self, work: Work, rater: Rater | None = None) -> None:
        self.work = work
        self.rater: Rater = NoPrices() if rater is None else rater

    async def record(self, items: Sequence[NewUsage]) -> list[Recorded]:
        """Add usage of other systems, at most 1,000 at once, all or none; the results are in the order of the items.

        Raises FORBIDDEN for another's organisation, INVALID, and CONFLICT ``idempotency_key_reused`` for a key that was
        used for something else.
        """
        if len(items) > MOST_REPORTED:
            raise invalid(f"At most {MOST_REPORTED} records may be sent at once.", "records", "batch_too_large")
        for item in items:
            self._confine(item.organization)
        return await external.record(self.work, self.rater, items)

    async def rerate(self, meant: Meant) -> Rerated:
        """Rate anew what was rated by a price that is known to be wrong, or by none; see :mod:`.corrections`.

        Only for the platform.
        """
        self.work.actor.require_platform()
        return await rerate(self.work, self.rater, meant)

    def _confine(self, organization: str) -> None:
        actor = self.work.actor
        if not actor.is_platform_admin and organization != actor.organization:
            raise GatewayError(
                Kind.FORBIDDEN, "insufficient_permissions", "This is another organization's.", "organization_id"
            )
