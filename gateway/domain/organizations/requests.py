"""What is asked of organisations, and pages of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from gateway.domain.organizations.model import Organization


class NewOrganization(Struct, frozen=True, kw_only=True):
    """An organisation to make. Without a ``slug`` one is made of the name. ``id`` is given only for those of
    ``gateway.yaml``, whose names are their ids."""

    name: str
    slug: str | None = None
    id: str | None = None
    plan: str | None = None
    data_residency: str | None = None
    configuration: dict[str, Any] = {}
    trial_ends_at: datetime | None = None
    parent: str | None = None


class OrganizationUpdate(Struct, frozen=True, kw_only=True):
    """What is to change; what is not given stays."""

    name: str | UnsetType = UNSET
    configuration: dict[str, Any] | UnsetType = UNSET
    data_residency: str | UnsetType | None = UNSET
    trial_ends_at: datetime | UnsetType | None = UNSET


class OrganizationFilter(Struct, frozen=True, kw_only=True):
    """Which organisations; None for any. ``search`` is part of a name or slug. Deleted ones only by ``status``."""

    status: str | None = None
    plan: str | None = None
    search: str | None = None
    id: str | None = None


class OrganizationPage(Struct, frozen=True):
    """A page of organisations, and how many there are in all."""

    items: tuple[Organization, ...]
    total: int
