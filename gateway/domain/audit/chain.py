"""The chain of audit records: how a record is hashed, and how one is appended.

A record's hash covers all of its fields and the hash before it, so an edited, removed or moved record breaks every
one after it. The head is signed with a key made of the master key: someone who can write to the database, and hashes
the whole chain anew or cuts its end off, can't sign where it ends.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.audit.model import AuditHead, AuditRecord
from gateway.kernel.ids import new_id

GENESIS = "0" * 64
UNSIGNED = "audit.head_unsigned"
"""What is recorded where the head was signed by another hand, or with another master key, when the next is appended."""
# What a hash covers is fixed: a column that is added later is not in it, or old records would no longer verify.
_HASHED = (
    "seq", "id", "at", "actor_kind", "actor_id", "actor_email", "actor_user", "organization", "action", "resource_type",
    "resource_id", "before", "after", "severity", "status", "address", "user_agent", "request_id", "details",
    "prev_hash",
)  # fmt: skip


def audit_key(master_key: str) -> bytes:
    """The key heads are signed with: HMAC-SHA256 of the master key."""
    return hmac.digest(master_key.encode(), b"audit", "sha256")


def canonical(value: Any) -> str:
    """JSON in one spelling: keys sorted, no spaces, times as ISO 8601 in UTC to the microsecond."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, default=_plain)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    raise TypeError(f"{type(value).__name__} has no place in an audit record")


def as_stored(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a JSON column gives back for ``value``: what is hashed must be what is read later."""
    if value is None:
        return None
    stored: dict[str, Any] = json.loads(canonical(value))
    return stored


def hash_of(record: AuditRecord) -> str:
    """SHA-256, in hex, over the canonical JSON of every field but the hash itself."""
    return hashlib.sha256(canonical({name: getattr(record, name) for name in _HASHED}).encode()).hexdigest()


def mac_of(key: bytes, seq: int, last: str) -> str:
    """The head's signature, in hex."""
    return hmac.new(key, f"{seq}:{last}".encode(), "sha256").hexdigest()


async def lock_head(session: AsyncSession) -> AuditHead | None:
    """Take the chain until the transaction ends. None where nothing was ever appended; use :func:`take` to append."""
    return await session.scalar(select(AuditHead).with_for_update().execution_options(populate_existing=True))


async def take(session: AsyncSession, key: bytes) -> AuditHead:
    """The head, locked until the transaction ends, so that one process at a time appends. Made where there is none."""
    head = await lock_head(session)
    if head is not None:
        return head
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    first = {"number": 1, "seq": 0, "hash": GENESIS, "mac": mac_of(key, 0, GENESIS)}
    await session.execute(insert(AuditHead).values(**first).on_conflict_do_nothing())
    head = await lock_head(session)
    assert head is not None
    return head


def is_signed(head: AuditHead, key: bytes) -> bool:
    """Whether the head is as it was signed with ``key``."""
    return hmac.compare_digest(head.mac, mac_of(key, head.seq, head.hash))


def append(session: AsyncSession, head: AuditHead, key: bytes, records: Sequence[AuditRecord]) -> None:
    """Number, chain and add ``records``, and move the head, which must have been taken in this transaction.

    A head that is not signed is recorded first, or signing the next would make good what was done to it.
    """
    if not records:
        return
    if not is_signed(head, key):
        records = [_unsigned(head, records[0].at), *records]
    seq, last = head.seq, head.hash
    for record in records:
        seq += 1
        record.seq, record.prev_hash = seq, last
        record.hash = last = hash_of(record)
        session.add(record)
    head.seq, head.hash, head.mac = seq, last, mac_of(key, seq, last)


def _unsigned(head: AuditHead, at: datetime) -> AuditRecord:
    return AuditRecord(
        id=new_id("aud"),
        at=at,
        actor_kind="system",
        actor_id="system",
        action=UNSIGNED,
        resource_type="audit_log",
        after={"seq": head.seq, "hash": head.hash},
        severity="critical",
        status="failure",
    )
