"""Who calls: the credential of a request, and the principal behind it.

::

    async def handler(caller: Caller, ...)   the Actor; 401 without a valid credential
    async def handler(principal: Known, ...) the Actor and the CredentialPolicy
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from gateway.dialects.common.context import context_of, origin_of
from gateway.domain.actor import Actor, anonymous
from gateway.domain.authentication.principal import Principal
from gateway.kernel.errors import GatewayError, Kind

_PLAIN = ("x-api-key", "api-key")


def secret_of(connection: HTTPConnection) -> str | None:
    """The credential a request carries: ``Authorization: Bearer …``, else ``x-api-key``, else ``api-key``.

    Raises :class:`GatewayError` (UNAUTHENTICATED ``invalid_authorization``) for another scheme than Bearer.
    """
    authorization = connection.headers.get("authorization")
    if authorization is not None:
        if authorization[:7].lower() != "bearer ":
            message = "Expected the Authorization header to be 'Bearer KEY'."
            raise GatewayError(Kind.UNAUTHENTICATED, "invalid_authorization", message)
        return authorization[7:].strip()
    return next((connection.headers[name].strip() for name in _PLAIN if name in connection.headers), None)


def is_app(connection: HTTPConnection) -> bool:
    """Whether the credential is that of an app, ``app_…:sk_…``; decides who owns a shared path."""
    values = (connection.headers.get(name, "") for name in ("authorization", *_PLAIN))
    return any(value.rpartition(" ")[2].startswith("app_") and ":sk_" in value for value in values)


async def principal(request: Request) -> Principal:
    """The caller of a request. Raises what :meth:`Authenticator.resolve` raises."""
    return await context_of(request).authenticator.resolve(secret_of(request), origin_of(request))


async def caller(known: Annotated[Principal, Depends(principal)]) -> Actor:
    """The caller as the one who acts."""
    return known.actor


def nobody(request: Request) -> Actor:
    """The one who acts where no credential is needed, with where the request came from."""
    origin = origin_of(request)
    return anonymous(origin.address, origin.user_agent, origin.request_id)


Known = Annotated[Principal, Depends(principal)]
Caller = Annotated[Actor, Depends(caller)]
Anonymous = Annotated[Actor, Depends(nobody)]
