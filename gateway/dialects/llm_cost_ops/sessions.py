"""``/api/v1/auth/login``, ``/refresh`` and ``/logout``.

The path of ``login`` is also LeanVibe's: its fields stand beside ``data``, which is this reference's.
"""

from __future__ import annotations

from typing import Literal

from fastapi import Request, Response
from pydantic import Field

from gateway.dialects.common.authentication import Known, secret_of
from gateway.dialects.common.context import ContextOf, origin_of
from gateway.dialects.common.models import Answer, Asked
from gateway.dialects.common.routing import make_router
from gateway.domain.authentication.sessions import Session

router = make_router()


class Login(Asked):
    """How a person signs in. ``provider`` is LeanVibe's."""

    email: str = Field(min_length=1, max_length=320)
    password: str = Field(min_length=1, max_length=4096)
    provider: Literal["local"] = "local"


class Refresh(Asked):
    """The token that was given at sign-in, or by the last refresh."""

    refresh_token: str = Field(min_length=1, max_length=8192)


class SignedIn(Answer):
    """Who signed in."""

    id: str
    email: str
    organization_id: str
    roles: list[str]


class TokensOf(Answer):
    """The tokens; ``expires_in`` is seconds."""

    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int
    user: SignedIn


class Tenant(Answer):
    """Who signed in, as LeanVibe tells it."""

    id: str
    email: str
    role: str
    tenant_id: str


class SessionAnswer(Answer):
    """The answer of both references."""

    data: TokensOf
    success: bool = True
    access_token: str
    refresh_token: str
    expires_in: int
    user: Tenant


@router.post("/api/v1/auth/login")
async def login(asked: Login, request: Request, context: ContextOf) -> SessionAnswer:
    """Sign in with email and password."""
    return _shown(await context.sessions.sign_in(asked.email, asked.password, origin_of(request)))


@router.post("/api/v1/auth/refresh")
async def refresh(asked: Refresh, request: Request, context: ContextOf) -> SessionAnswer:
    """New tokens for a refresh token, which is used up by it."""
    return _shown(await context.sessions.renew(asked.refresh_token, origin_of(request)))


@router.post("/api/v1/auth/logout", status_code=204)
async def logout(request: Request, context: ContextOf, _known: Known) -> Response:
    """End the sign-in of the access token that asks."""
    await context.sessions.sign_out(secret_of(request) or "", origin_of(request))
    return Response(status_code=204)


def _shown(session: Session) -> SessionAnswer:
    user, pair, organization = session.user, session.tokens, session.organization.id
    data = TokensOf(
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        token_type=pair.token_type,
        expires_in=pair.expires_in,
        user=SignedIn(id=user.id, email=user.email, organization_id=organization, roles=[session.role]),
    )
    return SessionAnswer(
        data=data,
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        expires_in=pair.expires_in,
        user=Tenant(id=user.id, email=user.email, role=session.role, tenant_id=organization),
    )
