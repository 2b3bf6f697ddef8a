"""Credits: entries are added, never changed; what is left is what was given less what is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct
from sqlalchemy import func, select, update

from gateway.contract.policy import LimitPolicy
from gateway.domain.credits.model import KINDS, CreditEntry
from gateway.domain.fields import LARGEST, amount, invalid, page, text
from gateway.domain.organizations.model import DELETED, Organization
from gateway.domain.turns import take_turn
from gateway.domain.usage.counters import Counters
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

READ, WRITE = "credits:read", "credits:write"
_TAKEN_BACK = ("adjustment", "expiry")
Entries: TypeAlias = Sequence[CreditEntry]


class Balance(Struct, frozen=True):
    """Nano-dollars given and used. ``prepaid`` is false for who was never given any, and is not held to it."""

    granted: int
    used: int
    prepaid: bool

    @property
    def remaining(self) -> int:
        """What may still be spent; never below 0."""
        return max(0, self.granted - self.used)


class CreditService:
    """What can be done with credits, within one work."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def add(
        self, organization: str, amount_nanos: int, kind: str, reason: str, *, idempotency_key: str | None = None
    ) -> CreditEntry:
        """Give an organisation money, or take some back (``adjustment``, ``expiry``). The first makes it prepaid.

        Only for the platform. The same ``idempotency_key`` books once and gives the entry of the first time. Raises
        FORBIDDEN, INVALID, NOT_FOUND ``organization_not_found``, and CONFLICT ``idempotency_key_reused`` for a key that
        was used for something else.
        """
        work = self.work
        work.actor.require_platform()
        entry = _checked(organization, amount_nanos, kind, reason, idempotency_key)
        if idempotency_key is not None:
            await take_turn(work.session, f"credit {idempotency_key}")
            booked = await work.session.scalar(
                select(CreditEntry).where(CreditEntry.idempotency_key == entry.idempotency_key)
            )
            if booked is not None:
                return _same(booked, entry)
        # Held until the end: entries of one organisation are added one after the other.
        row = await work.session.scalar(
            select(Organization).where(Organization.id == organization).with_for_update(key_share=True)
        )
        if row is None or row.status == DELETED:
            message = f"There is no organization {organization!r}."
            raise GatewayError(Kind.NOT_FOUND, "organization_not_found", message, "organization_id")
        before = await self._sum(organization)
        amount(before + amount_nanos, "amount", least=-LARGEST)
        if not row.prepaid:
            await work.session.execute(
                update(Organization).where(Organization.id == organization).values(prepaid=True, updated_at=work.now)
            )
        entry.created_at = work.now
        work.session.add(entry)
        await work.session.flush()
        await work.audit(
            "credits.added",
            "credit",
            entry.id,
            before={"granted_nanos": before},
            after={"granted_nanos": before + amount_nanos, "kind": kind, "reason": entry.reason},
            organization=organization,
        )
        work.changed("organization", organization)
        return entry

    async def granted(self, organization: str) -> int:
        """All that was given to an organisation, in nano-dollars. Raises FORBIDDEN."""
        self.work.actor.require("api:read", organization)
        return await self._sum(organization)

    async def balance(self, organization: str, counters: Counters) -> Balance:
        """What was given, what of it is used, and whether the organisation is held to it. Raises FORBIDDEN."""
        granted = await self.granted(organization)
        prepaid = await self.work.session.scalar(select(Organization.prepaid).where(Organization.id == organization))
        key = policy_of(organization, granted).key
        used = await counters.used([key], self.work.now.timestamp())
        return Balance(granted, used.get(key, 0), bool(prepaid))

    async def entries(self, organization: str, *, limit: int = 50, offset: int = 0) -> Entries:
        """The entries of an organisation, the latest first. Raises FORBIDDEN."""
        self.work.actor.require("api:read", organization)
        limit, offset = page(limit, offset)
        query = select(CreditEntry).where(CreditEntry.organization_id == organization)
        query = query.order_by(CreditEntry.number.desc()).limit(limit).offset(offset)
        return (await self.work.session.scalars(query)).all()

    async def _sum(self, organization: str) -> int:
        return await granted_to(self.work, organization)


async def granted_to(work: Work, organization: str) -> int:
    """All that was given to an organisation, whoever asks."""
    total = func.coalesce(func.sum(CreditEntry.amount_nanos), 0)
    found = await work.session.scalar(select(total).where(CreditEntry.organization_id == organization))
    return int(found or 0)


def policy_of(organization: str, granted: int) -> LimitPolicy:
    """The credit of an organisation as a limit of the data plane: what was given is the most that is ever spent."""
    most = min(max(granted, 0), LARGEST)
    return LimitPolicy("organization", organization, "cost", most, "total", source="credit")


def _checked(organization: str, nanos: int, kind: str, reason: str, key: str | None) -> CreditEntry:
    if kind not in KINDS:
        raise invalid(f"kind must be one of {', '.join(KINDS)}.", "kind")
    if nanos == 0 or (nanos < 0 and kind not in _TAKEN_BACK):
        raise invalid("credits must be more than 0.", "credits")
    amount(nanos, "credits", least=-LARGEST)
    return CreditEntry(
        organization_id=organization,
        amount_nanos=nanos,
        kind=kind,
        reason=text(reason, "reason", longest=500, empty=True),
        idempotency_key=None if key is None else text(key, "idempotency_key"),
    )


def _same(booked: CreditEntry, asked: CreditEntry) -> CreditEntry:
    if (booked.organization_id, booked.amount_nanos, booked.kind) != (
        asked.organization_id,
        asked.amount_nanos,
        asked.kind,
    ):
        message = "This idempotency key was used for another entry."
        raise GatewayError(Kind.CONFLICT, "idempotency_key_reused", message, "idempotency_key")
    return booked
