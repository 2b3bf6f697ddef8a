"""The audit log: records chained by their hashes, and the head that says where the chain ends."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlalchemy.orm import Mapped, mapped_column

from gateway.store.base import Base, Number

# Python's None is SQL's NULL, not JSON's null: one way to say "nothing" hashes one way.
_Json = JSON(none_as_null=True)


class AuditRecord(Base):
    """Who did what to which resource. Never changed after it was written."""

    __tablename__ = "audit_records"

    seq: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(unique=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor_kind: Mapped[str]
    actor_id: Mapped[str] = mapped_column(index=True)
    actor_email: Mapped[str | None]
    actor_user: Mapped[str | None] = mapped_column(index=True)
    organization: Mapped[str | None] = mapped_column(index=True)
    action: Mapped[str] = mapped_column(index=True)
    resource_type: Mapped[str]
    resource_id: Mapped[str | None]
    before: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    after: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    severity: Mapped[str]
    status: Mapped[str]
    address: Mapped[str | None]
    user_agent: Mapped[str | None]
    request_id: Mapped[str | None]
    details: Mapped[dict[str, Any] | None] = mapped_column("metadata", _Json)
    prev_hash: Mapped[str]
    hash: Mapped[str]


class AuditHead(Base):
    """The last record's number and hash, signed with the master key. One row."""

    __tablename__ = "audit_head"

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    seq: Mapped[int]
    hash: Mapped[str]
    mac: Mapped[str]
