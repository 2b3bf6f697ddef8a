"""What is asked of credentials, and pages of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from gateway.domain.credentials.model import Credential
from gateway.domain.credentials.secret import Family


class NewCredential(Struct, frozen=True, kw_only=True):
    """A key to make.

    ``organization`` None is the actor's; ``user`` not given is the actor, None a key that belongs to no person.
    ``environment`` is live, test, staging or development (also ``dev``). Without ``scopes`` and ``scope_permissions``
    the key gets :data:`gateway.domain.credentials.restrictions.DEFAULT_SCOPES`.
    """

    name: str
    organization: str | None = None
    user: str | UnsetType | None = UNSET
    family: Family = "gw"
    environment: str = "live"
    scopes: Sequence[str] | None = None
    scope_permissions: dict[str, Any] | None = None
    models: Sequence[str] = ()
    cidrs: Sequence[str] = ()
    expires_at: datetime | None = None


class CredentialUpdate(Struct, frozen=True, kw_only=True):
    """What is to change; what is not given stays. ``expires_at`` None means never."""

    name: str | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    scopes: Sequence[str] | UnsetType = UNSET
    models: Sequence[str] | UnsetType = UNSET
    cidrs: Sequence[str] | UnsetType = UNSET
    expires_at: datetime | UnsetType | None = UNSET


class CredentialFilter(Struct, frozen=True, kw_only=True):
    """Which credentials; None for any. ``statuses`` are of active, disabled, revoked."""

    organization: str | None = None
    user: str | None = None
    app: str | None = None
    kind: str | None = None
    environment: str | None = None
    statuses: tuple[str, ...] = ()


class CredentialPage(Struct, frozen=True):
    """A page of credentials, and how many there are in all."""

    items: tuple[Credential, ...]
    total: int
