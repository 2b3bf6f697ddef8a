"""Usage that callers report, rated by the prices of whoever reports it, each record with its own result."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, structs

from gateway.domain.ledger import repo
from gateway.domain.ledger.query import NewUsage, Recorded
from gateway.domain.ledger.rating import BookRater
from gateway.domain.ledger.service import LedgerService
from gateway.domain.organizations import repo as organizations
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.pricing.book import PriceBook
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError

WRITE = "usage:write"


class Report(Struct, frozen=True):
    """A record, and whether its time is that of reporting because the caller named none."""

    usage: NewUsage
    is_now: bool = False


Result = Recorded | GatewayError


class Reporting:
    """Takes reports within one work. ``book`` has the prices, ``permission`` is what reporting needs."""

    def __init__(self, work: Work, book: PriceBook, permission: str = WRITE) -> None:
        self.work = work
        self._book = book
        self._permission = permission
        self._count = 0
        self._last: str | None = None

    async def record(self, reports: Sequence[Report]) -> list[Result]:
        """Enter what can be entered; the results are in the order of the reports.

        Needs the permission. A report under an idempotency key that is known gives the entry of before.
        """
        results = await self.enter(reports)
        await self.audit()
        return results

    async def enter(self, reports: Sequence[Report]) -> list[Result]:
        """As :meth:`record`, for a part of the reports: when all have been entered comes :meth:`audit`."""
        await self._book.refresh(self.work.session)
        organizations = {name: await self._organization(name) for name in {r.usage.organization for r in reports}}
        results: dict[int, Result] = {}
        items: dict[int, NewUsage] = {}
        for index, report in enumerate(reports):
            organization = organizations[report.usage.organization]
            if isinstance(organization, GatewayError):
                results[index] = organization
            else:
                items[index] = await self._timed(organization, report)
        results |= zip(items, await self._entered(list(items.values())), strict=True)
        entered = [item for item in results.values() if isinstance(item, Recorded) and item.is_new]
        if entered:
            self._count += len(entered)
            self._last = entered[0].id
        return [results[index] for index in range(len(reports))]

    async def audit(self) -> None:
        """Note in the audit log what was entered, if anything was."""
        if self._count:
            alone = self._last if self._count == 1 else None
            await self.work.audit("usage.submitted", "usage", alone, metadata={"records": self._count})

    async def _entered(self, items: Sequence[NewUsage]) -> list[Result]:
        service = LedgerService(self.work, BookRater(self._book))
        try:
            return list(await service.record(items))
        except GatewayError:
            # All or none: so each for itself, to tell which it was. Nothing has been written by then.
            return [await _alone(service, item) for item in items]

    async def _organization(self, reference: str) -> str | GatewayError:
        actor = self.work.actor
        try:
            if actor.is_platform_admin:
                return (await OrganizationService(self.work).get(reference)).id
            if reference != actor.organization:
                reference = await organizations.id_of(self.work.session, reference)
            actor.require(self._permission, reference)
        except GatewayError as error:
            return error
        return reference

    async def _timed(self, organization: str, report: Report) -> NewUsage:
        """The record; one that names no time and was reported before is of that time."""
        usage, key = structs.replace(report.usage, organization=organization), report.usage.idempotency_key
        if not report.is_now or key is None:
            return usage
        before = (await repo.by_keys(self.work.session, organization, [key])).get(key)
        return usage if before is None else structs.replace(usage, started_ns=before.started_ns, duration_ms=0)


async def _alone(service: LedgerService, item: NewUsage) -> Result:
    try:
        return (await service.record([item]))[0]
    except GatewayError as error:
        return error
