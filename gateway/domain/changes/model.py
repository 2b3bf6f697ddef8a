"""The log of what the data plane may hold and must hear about, written with the change itself."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from gateway.store.base import Base, Number


class PolicyChange(Base):
    """One change. ``seq`` grows in the order of the commits; ``digest`` is in hex."""

    __tablename__ = "policy_changes"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - a number is never given twice, even after pruning

    seq: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    kind: Mapped[str]
    id: Mapped[str]
    digest: Mapped[str | None]
