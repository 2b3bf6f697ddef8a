"""``/api/v1/auth/api-keys``: keys of an organisation, with scopes by name.

The reference documents how to make one; listing, changing, rotating and revoking follow its conventions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Response
from pydantic import Field

from gateway.dialects.common.fields import given
from gateway.dialects.common.models import Answer, Asked, Instant, Moment
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading, Writing
from gateway.dialects.llm_cost_ops.paging import CountedPage, CursorPaging, cursor_of
from gateway.domain.credentials.model import Credential
from gateway.domain.credentials.requests import CredentialFilter, CredentialUpdate, NewCredential
from gateway.domain.credentials.service import CredentialService

router = make_router()
PATH = "/api/v1/auth/api-keys"


class NewKey(Asked):
    """A key to make. Beyond the reference: ``environment``, ``models`` and ``cidrs``."""

    name: str
    scopes: list[str] | None = None
    organization_id: str | None = None
    expires_at: Moment | None = None
    environment: Literal["live", "test"] = "live"
    models: list[str] = Field(default_factory=list)
    cidrs: list[str] = Field(default_factory=list)


class KeyUpdate(Asked):
    """What is to change; what is left out stays."""

    name: str = ""
    scopes: list[str] = Field(default_factory=list)
    expires_at: Moment | None = None
    is_active: bool = True
    models: list[str] = Field(default_factory=list)
    cidrs: list[str] = Field(default_factory=list)


class Rotation(Asked):
    """How many seconds the old secret goes on working."""

    grace_seconds: int = 0


class Chosen(CursorPaging):
    """Which keys."""

    organization_id: str | None = None
    user_id: str | None = None
    environment: Literal["live", "test", "staging", "development"] | None = None
    status: Literal["active", "disabled", "revoked"] | None = None


class MadeKey(Answer):
    """A key with its secret, which is told this once."""

    id: str
    key: str
    name: str
    scopes: list[str]
    organization_id: str
    created_at: Instant
    expires_at: Instant | None


class ShownKey(MadeKey):
    """A key; ``key`` is masked."""

    status: str
    environment: str
    user_id: str | None
    models: list[str]
    cidrs: list[str]
    last_used_at: Instant | None
    revoked_at: Instant | None


class MadeAnswer(Answer):
    """A key with its secret."""

    data: MadeKey


class KeyAnswer(Answer):
    """One key."""

    data: ShownKey


class KeysAnswer(Answer):
    """A page of keys."""

    data: list[ShownKey]
    pagination: CountedPage


@router.post(PATH, status_code=201)
async def create_key(asked: NewKey, work: Writing) -> MadeAnswer:
    """Make a key."""
    new = NewCredential(
        name=asked.name,
        family="sk",
        organization=asked.organization_id,
        environment=asked.environment,
        scopes=asked.scopes,
        models=asked.models,
        cidrs=asked.cidrs,
        expires_at=asked.expires_at,
    )
    row, secret = await CredentialService(work).create(new)
    return MadeAnswer(data=_made(row, secret))


@router.get(PATH)
async def list_keys(work: Reading, chosen: Annotated[Chosen, Query()]) -> KeysAnswer:
    """Keys, the newest first unless ``order=asc``."""
    wanted = CredentialFilter(
        organization=chosen.organization_id,
        user=chosen.user_id,
        kind="api_key",
        environment=chosen.environment,
        statuses=() if chosen.status is None else (chosen.status,),
    )
    # One more than asked for tells whether there is a next page.
    found = await CredentialService(work).list(
        wanted, limit=chosen.limit + 1, after=chosen.after, newest_first=chosen.order == "desc"
    )
    rows = found.items[: chosen.limit]
    last = rows[-1].number if len(found.items) > chosen.limit else None
    page = CountedPage(
        has_more=last is not None,
        next_cursor=cursor_of(last, chosen.order),
        total_count=found.total,
        limit=chosen.limit,
    )
    return KeysAnswer(data=[_shown(row) for row in rows], pagination=page)


@router.get(PATH + "/{key_id}")
async def get_key(key_id: str, work: Reading) -> KeyAnswer:
    """One key."""
    return KeyAnswer(data=_shown(await CredentialService(work).get(key_id)))


@router.patch(PATH + "/{key_id}")
async def update_key(key_id: str, asked: KeyUpdate, work: Writing) -> KeyAnswer:
    """Rename, disable, restrict a key."""
    values = given(asked, "name", "scopes", "expires_at", "is_active", "models", "cidrs")
    return KeyAnswer(data=_shown(await CredentialService(work).update(key_id, CredentialUpdate(**values))))


@router.post(PATH + "/{key_id}/rotate")
async def rotate_key(key_id: str, work: Writing, asked: Rotation | None = None) -> MadeAnswer:
    """Give a key another secret."""
    grace = 0 if asked is None else asked.grace_seconds
    row, secret = await CredentialService(work).rotate(key_id, grace_seconds=grace)
    return MadeAnswer(data=_made(row, secret))


@router.delete(PATH + "/{key_id}", status_code=204)
async def revoke_key(key_id: str, work: Writing) -> Response:
    """End a key for good."""
    await CredentialService(work).revoke(key_id, once=True)
    return Response(status_code=204)


def _made(row: Credential, secret: str) -> MadeKey:
    return MadeKey(
        id=row.id,
        key=secret,
        name=row.name,
        scopes=row.scopes,
        organization_id=row.organization_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


def _shown(row: Credential) -> ShownKey:
    return ShownKey(
        **dict(_made(row, row.masked)),
        status=row.status,
        environment=row.environment,
        user_id=row.user_id,
        models=row.models,
        cidrs=row.cidrs,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
