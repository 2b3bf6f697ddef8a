"""Headers of every answer: the request's id, and what the owner of the path documents for all of its answers."""

from __future__ import annotations

from fastapi import Request

from gateway.contract.owners import Reference, owner_of
from gateway.dialects.common.authentication import is_app
from gateway.dialects.common.context import origin_of

# LLM Cost Ops, "Versioning".
_DOCUMENTED: dict[Reference, dict[str, str]] = {"llm_cost_ops": {"x-api-version": "v1"}}

NOT_KEPT = ("cache-control", "no-store")  # RFC 9111 §5.2.2.5; for tokens also RFC 6749 §5.1


def owner(request: Request) -> Reference:
    """The reference that owns a request's path."""
    return owner_of(request.method, request.url.path, app=is_app(request))


def headers_of(request: Request) -> dict[str, str]:
    """Header names are in lower case."""
    return {"x-request-id": origin_of(request).request_id or "", **_DOCUMENTED.get(owner(request), {})}
