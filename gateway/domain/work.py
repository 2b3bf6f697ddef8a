"""A unit of work: one transaction, who does it, when, and what it leaves for the audit log and the policy feed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.contract.policy import ChangeKind
from gateway.domain.actor import Actor
from gateway.domain.audit import chain
from gateway.domain.audit.model import AuditRecord
from gateway.domain.changes.model import PolicyChange
from gateway.kernel.ids import new_id
from gateway.kernel.secrets import Seal
from gateway.store.base import fit
from gateway.store.engine import Store

Severity = Literal["info", "warning", "critical"]
Status = Literal["success", "failure", "denied"]
T = TypeVar("T")


class Work:
    """One transaction. ``now`` is the same throughout, aware, in UTC. ``seal`` marks new secrets."""

    def __init__(self, session: AsyncSession, actor: Actor, now: datetime, seal: Seal) -> None:
        self.session = session
        self.seal = seal
        self.actor = actor
        self.now = now
        self.records: list[AuditRecord] = []
        self.changes: list[PolicyChange] = []

    async def audit(
        self,
        action: str,
        resource_type: str,
        resource_id: str | None,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
        organization: str | None = None,
        severity: Severity = "info",
        status: Status = "success",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Record what is done; it is chained and written when the work commits. No secret may be passed in.

        ``organization`` defaults to the actor's. A record whose ``status`` is not ``success`` is written even when the
        work is rolled back: a refused attempt is what the log is for.
        """
        actor = self.actor
        self.records.append(
            AuditRecord(
                id=new_id("aud"),
                at=self.now,
                actor_kind=actor.kind,
                actor_id=_text(actor.id) or "",
                actor_email=_text(actor.email, 320),
                actor_user=_text(actor.user),
                organization=_text(organization if organization is not None else actor.organization),
                action=fit(action),
                resource_type=fit(resource_type),
                resource_id=_text(resource_id),
                before=chain.as_stored(before),
                after=chain.as_stored(after),
                severity=severity,
                status=status,
                address=_text(actor.address, 64),
                user_agent=_text(actor.user_agent),
                request_id=_text(actor.request_id, 128),
                details=chain.as_stored(metadata),
            )
        )

    def changed(self, kind: ChangeKind, id: str, digest: bytes | None = None) -> None:
        """Tell the data plane that what it may hold of ``id`` is out of date, once the work is committed.

        ``digest`` is the SHA-256 of a credential that was made, changed or revoked.
        """
        hexed = None if digest is None else digest.hex()
        self.changes.append(PolicyChange(at=self.now, kind=kind, id=id, digest=hexed))


class Works:
    """Makes units of work over one store.

    ``master_key`` signs the audit log's head and marks secrets. ``on_commit`` is called after a commit that changed
    policy.
    """

    def __init__(
        self,
        store: Store,
        *,
        master_key: str,
        on_commit: Callable[[], None] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.store = store
        self._key = chain.audit_key(master_key)
        self._seal = Seal(master_key)
        self._on_commit = on_commit
        self._clock = clock

    @asynccontextmanager
    async def begin(self, actor: Actor) -> AsyncIterator[Work]:
        """A work that commits at the end and rolls back on an exception."""
        work: Work | None = None
        try:
            async with self.store.writing() as session:
                work = Work(session, actor, self._clock(), self._seal)
                yield work
                await self._conclude(session, work.records, work.changes)
        except BaseException:
            failures = [] if work is None else [record for record in work.records if record.status != "success"]
            if failures:
                await self._record_failures(failures)
            raise
        if work.changes and self._on_commit is not None:
            self._on_commit()

    @asynccontextmanager
    async def read(self, actor: Actor) -> AsyncIterator[Work]:
        """A work that only reads, as of one moment. What it would audit or change is lost."""
        async with self.store.reading() as session:
            yield Work(session, actor, self._clock(), self._seal)

    async def look(self, read: Callable[[Connection, datetime], T]) -> T:
        """What ``read`` makes of the database as of one moment, and of the present time; see ``Store.snapshot``."""
        now = self._clock()
        return await self.store.snapshot(lambda connection: read(connection, now))

    async def _conclude(self, session: AsyncSession, records: list[AuditRecord], changes: list[PolicyChange]) -> None:
        if not records and not changes:
            return
        # Flushed first: whatever else may fail or wait has done so before the chain, which all writers share, is taken.
        await session.flush()
        # The changes are numbered under the same lock, so that their order is the order of the commits: a reader that
        # has seen number 7 would never look for a 6 that comes later.
        head = await chain.take(session, self._key)
        chain.append(session, head, self._key, records)
        session.add_all(changes)
        await session.flush()

    async def _record_failures(self, failures: list[AuditRecord]) -> None:
        async with self.store.writing() as session:
            fresh = [_copy(record) for record in failures]
            await self._conclude(session, fresh, [])


def _copy(record: AuditRecord) -> AuditRecord:
    columns = AuditRecord.__mapper__.column_attrs.keys()
    return AuditRecord(**{name: getattr(record, name) for name in columns if name not in ("seq", "prev_hash", "hash")})


def _text(value: str | None, longest: int = 255) -> str | None:
    """Text as it will be read again, which is what is hashed; cut where a caller sends a book."""
    return None if value is None else fit(value)[:longest]
