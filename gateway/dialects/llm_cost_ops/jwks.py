"""``/.well-known/jwks.json`` (RFC 7517): the public keys that this gateway's tokens are verified with."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from gateway.dialects.common.context import ContextOf
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import PublicReading

router = make_router()
_FRESH = 300  # seconds: a new key signs at once, so whoever does not know it must look again


@router.get("/.well-known/jwks.json")
async def jwks(work: PublicReading, context: ContextOf, response: Response) -> dict[str, Any]:
    """The key set; empty where tokens are signed with a shared secret."""
    response.headers["cache-control"] = f"public, max-age={_FRESH}"
    return await context.tokens.keys.jwks(work)
