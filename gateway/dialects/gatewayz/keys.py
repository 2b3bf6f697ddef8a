"""``/user/api-keys``: the caller's own keys, by their running number or their id."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import Field

from gateway.dialects.common.fields import given, naming
from gateway.dialects.common.models import Answer, Asked, Instant, Moment, Parameters
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading, Writing
from gateway.domain.credentials.model import ACTIVE, DISABLED, Credential
from gateway.domain.credentials.requests import CredentialFilter, CredentialUpdate, NewCredential
from gateway.domain.credentials.service import CredentialService

router = make_router()
Environment = Literal["live", "test", "staging", "development", "dev"]
_LISTED = (ACTIVE, DISABLED)


class NewKey(Asked):
    """A key to make. Beyond the reference: ``scopes`` by name, and what restricts the key."""

    key_name: str
    environment_tag: Environment = "live"
    scope_permissions: dict[str, Any] | None = None
    scopes: list[str] | None = None
    models: list[str] = Field(default_factory=list)
    cidrs: list[str] = Field(default_factory=list)
    expires_at: Moment | None = None


class KeyUpdate(Asked):
    """What is to change of a key; what is left out stays."""

    key_name: str = ""
    is_active: bool = True
    scopes: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    cidrs: list[str] = Field(default_factory=list)
    expires_at: Moment | None = None


class Paging(Parameters):
    """Which part of the list."""

    limit: int = Field(default=1000, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)


class MadeKey(Answer):
    """A new key: the one time its secret is told."""

    success: bool = True
    api_key: str
    key_name: str
    environment_tag: str
    created_at: Instant


class ShownKey(Answer):
    """A key in a list; ``api_key`` is masked."""

    id: int
    key_name: str
    api_key: str
    environment_tag: str
    is_active: bool
    created_at: Instant


class Keys(Answer):
    """The keys of a page, and how many they are."""

    success: bool = True
    data: list[ShownKey]
    count: int


class Done(Answer):
    """Something was done."""

    success: bool = True
    message: str


@router.post("/user/api-keys")
async def create_key(asked: NewKey, work: Writing) -> MadeKey:
    """Make a key for the caller."""
    with naming(name="key_name", environment="environment_tag"):
        row, secret = await CredentialService(work).create(
            NewCredential(
                name=asked.key_name,
                environment=asked.environment_tag,
                scope_permissions=asked.scope_permissions,
                scopes=asked.scopes,
                models=asked.models,
                cidrs=asked.cidrs,
                expires_at=asked.expires_at,
            )
        )
    return MadeKey(api_key=secret, key_name=row.name, environment_tag=row.environment, created_at=row.created_at)


@router.get("/user/api-keys")
async def list_keys(work: Reading, paging: Annotated[Paging, Query()]) -> Keys:
    """The caller's keys; of a caller who is no person, those of the organisation."""
    chosen = CredentialFilter(user=work.actor.user, kind="api_key", statuses=_LISTED)
    found = await CredentialService(work).list(chosen, limit=paging.limit, offset=paging.offset)
    return Keys(data=[_shown(row) for row in found.items], count=len(found.items))


@router.put("/user/api-keys/{key_id}")
async def update_key(key_id: str, asked: KeyUpdate, work: Writing) -> Done:
    """Rename, disable, restrict a key."""
    values = given(asked, "is_active", "scopes", "models", "cidrs", "expires_at", name="key_name")
    with naming(name="key_name"):
        await CredentialService(work).update(key_id, CredentialUpdate(**values))
    return Done(message="API key updated successfully")


@router.delete("/user/api-keys/{key_id}")
async def delete_key(key_id: str, work: Writing) -> Done:
    """End a key for good."""
    await CredentialService(work).revoke(key_id, once=True)
    return Done(message="API key deleted successfully")


def _shown(row: Credential) -> ShownKey:
    return ShownKey(
        id=row.number,
        key_name=row.name,
        api_key=row.masked,
        environment_tag=row.environment,
        is_active=row.is_active,
        created_at=row.created_at,
    )
