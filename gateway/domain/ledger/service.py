"""The ledger as APIs use it: entries and sums read, usage of other systems reported, prices corrected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.domain.fields import amount, invalid
from gateway.domain.ledger import external, repo, totals
from gateway.domain.ledger.corrections import Meant, Rerated, rerate
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.query import NEWEST_FIRST, Bucket, Dimension, Filter, NewUsage, Recorded, Sort, Sums
from gateway.domain.ledger.rating import NoPrices, Rater
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

MOST_ROWS = 1_000
MOST_REPORTED = 1_000


class LedgerService:
    """What can be done with the ledger, within one work. ``rater`` knows the prices; see :mod:`.rating`.

    Who does not act for the platform sees and reports for their own organisation alone: a filter without an
    organisation means theirs, one with another raises FORBIDDEN.
    """

    def __init__(self, work: Work, rater: Rater | None = None) -> None:
        self.work = work
        self.rater: Rater = NoPrices() if rater is None else rater

    async def get(self, id: str) -> LedgerEntry:
        """One entry. Raises NOT_FOUND ``usage_not_found``, also for one of another organisation."""
        entry = await repo.by_id(self.work.session, id)
        if entry is None or not self._sees(entry.organization):
            raise GatewayError(Kind.NOT_FOUND, "usage_not_found", f"There is no usage record {id!r}.", "id")
        return entry

    async def page(
        self,
        wanted: Filter,
        *,
        order: Sequence[Sort] = NEWEST_FIRST,
        limit: int = 100,
        after: Sequence[Any] | None = None,
        offset: int = 0,
    ) -> list[LedgerEntry]:
        """Entries in an order; ``after`` is :meth:`position` of the last one seen. As fast at any depth by ``after``.

        Raises INVALID for ``limit`` (1 to 1,000), ``offset``, ``after`` and ``order``.
        """
        amount(limit, "limit", least=1, most=MOST_ROWS + 1)  # one more tells whether there is a next page
        amount(offset, "offset")
        whole = _whole(order)
        if after is not None and len(after) != len(whole):
            raise invalid("The cursor is of another order.", "cursor", "invalid_cursor")
        return await repo.page(self.work.session, self._confined(wanted), whole, limit, after, offset)

    @staticmethod
    def position(entry: LedgerEntry, order: Sequence[Sort] = NEWEST_FIRST) -> tuple[Any, ...]:
        """Where an entry is in an order: whole numbers and texts, to be kept in a cursor."""
        return repo.sort_key(entry, _whole(order))

    async def count(self, wanted: Filter) -> int:
        """How many entries there are; it reads them all."""
        return await repo.count(self.work.session, self._confined(wanted))

    async def sums(self, wanted: Filter, *, by: Sequence[Dimension] = (), bucket: Bucket | None = None) -> list[Sums]:
        """Sums by dimension and bucket, ordered by bucket and group; without either exactly one.

        Read from the sums of hours and days, and from single entries only at bounds that are within an hour, or where
        the filter names what sums don't know.
        """
        return await totals.sums(self.work.session, self._confined(wanted), tuple(by), bucket)

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

    def _sees(self, organization: str) -> bool:
        actor = self.work.actor
        return actor.is_platform_admin or organization == actor.organization

    def _confine(self, organization: str) -> None:
        if not self._sees(organization):
            raise GatewayError(
                Kind.FORBIDDEN, "insufficient_permissions", "This is another organization's.", "organization_id"
            )

    def _confined(self, wanted: Filter) -> Filter:
        actor = self.work.actor
        if wanted.organization is not None:
            self._confine(wanted.organization)
            return wanted
        if actor.is_platform_admin:
            return wanted
        return wanted.within(actor.organization or "")


def _whole(order: Sequence[Sort]) -> tuple[Sort, ...]:
    """The order, made total: entries that are equal otherwise by their number."""
    fields = [sort.field for sort in order]
    if len(set(fields)) != len(fields):
        raise invalid("Each field may be sorted by once.", "sort")
    if "number" in fields:
        return tuple(order[: fields.index("number") + 1])
    return (*order, Sort("number", descending=not order or order[-1].descending))
