"""``/v1/auth``: signing in with email and password, staying signed in, signing out."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, Request

from gateway.dialects.common.authentication import secret_of
from gateway.dialects.common.context import ContextOf, origin_of
from gateway.dialects.common.models import Answer, Asked
from gateway.dialects.common.routing import make_router
from gateway.domain.authentication.principal import Origin
from gateway.domain.authentication.sessions import Session
from gateway.kernel.errors import GatewayError, Kind

router = make_router()


# What is no coroutine, FastAPI runs in a thread.
async def _origin(request: Request) -> Origin:
    return origin_of(request)


From = Annotated[Origin, Depends(_origin)]


class Login(Asked):
    """Who signs in."""

    email: str
    password: str
    provider: Literal["local"] = "local"


class LoginUser(Answer):
    """Who signed in, and as what."""

    id: str
    email: str
    role: str
    tenant_id: str


class LoginAnswer(Answer):
    """The tokens of a sign-in; ``expires_in`` is seconds, of the access token."""

    success: Literal[True] = True
    access_token: str
    refresh_token: str
    expires_in: int
    user: LoginUser


class LogoutAnswer(Answer):
    """A sign-in is over."""

    success: Literal[True] = True
    message: str = "Signed out."


async def bearer(request: Request) -> str:
    """The token a request carries. Raises UNAUTHENTICATED where there is none."""
    secret = secret_of(request)
    if not secret:
        raise GatewayError(Kind.UNAUTHENTICATED, "missing_token", "Send the token as Authorization: Bearer …")
    return secret


Token = Annotated[str, Depends(bearer)]


@router.post("/v1/auth/login")
async def login(asked: Login, context: ContextOf, origin: From) -> LoginAnswer:
    """Sign in to one's own tenant."""
    return _answer(await context.sessions.sign_in(asked.email, asked.password, origin))


@router.post("/v1/auth/refresh")
async def refresh(token: Token, context: ContextOf, origin: From) -> LoginAnswer:
    """New tokens for a refresh token, which is used up by it."""
    return _answer(await context.sessions.renew(token, origin))


@router.post("/v1/auth/logout")
async def logout(token: Token, context: ContextOf, origin: From) -> LogoutAnswer:
    """End the sign-in of an access token; its refresh token ends with it."""
    await context.sessions.sign_out(token, origin)
    return LogoutAnswer()


def _answer(session: Session) -> LoginAnswer:
    user = LoginUser(id=session.user.id, email=session.user.email, role=session.role, tenant_id=session.organization.id)
    tokens = session.tokens
    return LoginAnswer(
        access_token=tokens.access_token, refresh_token=tokens.refresh_token, expires_in=tokens.expires_in, user=user
    )
