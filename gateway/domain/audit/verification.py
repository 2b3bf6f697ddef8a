"""Verifying the chain of audit records, from the first to the head."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct
from sqlalchemy import select

from gateway.domain.audit import chain
from gateway.domain.audit.model import AuditHead, AuditRecord
from gateway.domain.organizations.model import Organization
from gateway.domain.work import Work

_CHUNK = 1_000


class Anchor(NamedTuple):
    """A record's number and hash as an earlier verification printed them, kept outside of the database."""

    seq: int
    hash: str


class Broken(Struct, frozen=True):
    """The first place where the log is not what was written: a record's number, its id where it is there, and why."""

    seq: int
    id: str | None
    reason: str


class Report(Struct, frozen=True):
    """What verifying found. ``seq`` and ``hash`` are the last record's; keep them to verify against later."""

    records: int
    seq: int
    hash: str
    broken: Broken | None

    @property
    def is_intact(self) -> bool:
        """Whether nothing was found."""
        return self.broken is None


async def verify(work: Work, master_key: str, anchor: Anchor | None = None) -> Report:
    """Read the whole log and report the first record that was changed, removed, moved or added by another hand.

    Removing records at the end, or hashing the chain anew, shows at the head, which only the master key can sign.
    Putting back an older copy of the whole database shows only against an ``anchor``. A log that goes on under another
    master key is intact with an anchor at or behind the last record under the one before.
    """
    count, last, seen = 0, Anchor(0, chain.GENESIS), anchor is None
    strange = await work.session.scalar(select(AuditRecord).where(AuditRecord.seq < 1).order_by(AuditRecord.seq))
    if strange is not None:
        return Report(0, *last, Broken(strange.seq, strange.id, "it was added: records are numbered from 1"))
    while True:
        query = select(AuditRecord).where(AuditRecord.seq > last.seq).order_by(AuditRecord.seq).limit(_CHUNK)
        rows = (await work.session.scalars(query)).all()
        for row in rows:
            broken = _fault(row, last) or _fault_before(row, anchor)
            if broken is not None:
                return Report(count, last.seq, last.hash, broken)
            last, count = Anchor(row.seq, row.hash), count + 1
            if anchor is not None and row.seq == anchor.seq:
                seen = True
                if row.hash != anchor.hash:
                    return Report(count, *last, Broken(row.seq, row.id, "it is another record than the one expected"))
        work.session.expunge_all()
        if len(rows) < _CHUNK:
            break
    if anchor is not None and not seen and anchor.seq > 0:
        reason = f"the log ends before record {anchor.seq}, which was there"
        return Report(count, *last, Broken(last.seq + 1, None, reason))
    broken = _fault_of_head(await work.session.scalar(select(AuditHead)), last, master_key)
    return Report(count, *last, broken or await _begun_anew(work))


def _fault(row: AuditRecord, last: Anchor) -> Broken | None:
    if row.seq != last.seq + 1:
        return Broken(last.seq + 1, None, f"it is missing: record {last.seq} is followed by record {row.seq}")
    if row.prev_hash != last.hash:
        return Broken(row.seq, row.id, "it does not follow the record before it")
    if row.hash != chain.hash_of(row):
        return Broken(row.seq, row.id, "it was changed after it was written")
    return None


def _fault_before(row: AuditRecord, anchor: Anchor | None) -> Broken | None:
    if row.action != chain.UNSIGNED or (anchor is not None and anchor.seq >= row.seq - 1):
        return None
    reason = "what is before it was not signed with this master key: it was rewritten, or the key was another one"
    return Broken(row.seq, row.id, reason)


async def _begun_anew(work: Work) -> Broken | None:
    """Removed as a whole, with its head, a log would begin again with what comes next."""
    made = select(AuditRecord.resource_id).where(AuditRecord.action == "organization.created")
    found = await work.session.scalar(select(Organization.id).where(Organization.id.not_in(made)).limit(1))
    if found is None:
        return None
    return Broken(1, None, f"the log was begun anew: it does not tell that the organization {found} was made")


def _fault_of_head(head: AuditHead | None, last: Anchor, master_key: str) -> Broken | None:
    if head is None:
        return None if last.seq == 0 else Broken(last.seq, None, "the head, which says where the log ends, is gone")
    if not chain.is_signed(head, chain.audit_key(master_key)):
        reason = "the head was not signed with this master key: the log was rewritten, or the key is another one"
        return Broken(head.seq, None, reason)
    if head.seq > last.seq:
        return Broken(last.seq + 1, None, f"it is missing: the log was cut off, it had {head.seq} records")
    if head.seq < last.seq or head.hash != last.hash:
        return Broken(head.seq, None, "the records do not end in what was signed: they were rewritten or added to")
    return None
