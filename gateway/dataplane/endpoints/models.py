"""``GET /v1/models``: the models a key may use, in the list of OpenAI's reference ("Models") or of Anthropic's.

``GET /models`` is that of an OpenAI client whose base URL has no ``/v1``, and of Gatewayz: one list with the fields of
both, for anyone, as Gatewayz has it; a credential that comes along counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.dataplane.auth import check, secret_of
from gateway.dataplane.describing import NOBODY, as_gatewayz
from gateway.dataplane.endpoints import anthropic_models as anthropic
from gateway.dataplane.routing import not_found
from gateway.protocols.base import invalid

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.auth import Credential
    from gateway.dataplane.routing import Route as ModelRoute

Described: TypeAlias = "tuple[ModelRoute, dict[str, Any]]"

_PREFIXES = ("/v1", "", "/api/v1/llm")
_CREDENTIALS = ("authorization", "x-api-key", "api-key")
MOST: Final = 1_000
"""Models of one page of Gatewayz' list at most."""


def routes(worker: Worker) -> list[Route]:
    """The list and the single model, under every prefix that inference has."""

    async def offered(request: Request) -> list[ModelRoute]:
        caller = await authenticate(worker, request)
        return worker.runtime.router.offered(caller.models)

    async def list_models(request: Request) -> Response:
        if anthropic.asked_by(request):
            return await anthropic.answer(request, worker, offered)
        found = await _described(worker, await offered(request))
        return _json({"object": "list", "data": [model for _, model in found]})

    async def list_everywhere(request: Request) -> Response:
        if anthropic.asked_by(request):
            return await anthropic.answer(request, worker, offered)
        known = any(name in request.headers for name in _CREDENTIALS)
        routes = await offered(request) if known else worker.runtime.router.offered(frozenset())
        found = await _described(worker, routes)
        data = [as_gatewayz(model, route) for route, model in _page(request, found)]
        return _json({"object": "list", "success": True, "data": data, "count": len(data)})

    async def read_model(request: Request) -> Response:
        if anthropic.asked_by(request):
            return await anthropic.answer(request, worker, offered)
        caller = await authenticate(worker, request)
        name = request.path_params["model"]
        found = await _described(worker, [worker.runtime.router.find(name, caller.models)])
        if not found:
            raise not_found(name)
        return _json(found[0][1])

    found = [Route("/models/providers", _Elsewhere(worker), methods=["GET"])]
    for prefix in _PREFIXES:
        found.append(Route(f"{prefix}/models", list_models if prefix else list_everywhere))
        found.append(Route(f"{prefix}/models/{{model:path}}", read_model))
    return found


class _Elsewhere:
    """``GET /models/providers`` is the sidecar's. A model of that name is found under the other prefixes."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._worker.forward(scope, receive, send)


async def authenticate(worker: Worker, request: Request) -> Credential:
    """The caller of a request. Raises :class:`~gateway.kernel.errors.GatewayError`."""
    headers = request.headers
    authorization = headers.get("authorization")
    if authorization is not None:
        secret: bytes | None = secret_of(authorization.encode("latin-1"))
    else:
        secret = (headers.get("x-api-key") or headers.get("api-key") or "").encode("latin-1") or None
    caller = worker.runtime.credentials.find(secret)
    if caller is None:
        assert secret is not None and worker.learnt is not None  # noqa: PT018 - find() gives None in this case alone
        caller = await worker.learnt.ask(secret)
    if caller.guarded:
        check(caller, request.client.host if request.client else None, worker.runtime.credentials.environment)
    return caller


async def _described(worker: Worker, routes: list[ModelRoute]) -> list[Described]:
    known = await worker.catalogue.models(worker.runtime)
    # A reload may have come in between: then what it took away is not told.
    return [(route, known[route.name]) for route in routes if route.name in known]


def _page(request: Request, found: list[Described]) -> list[Described]:
    """The part of the models that Gatewayz' parameters ask for."""
    asked = request.query_params
    provider = asked.get("provider")
    if provider:
        found = [each for each in found if _is_from(each, provider.casefold())]
    begin = _count(asked.get("offset"), "offset", 0) or 0
    limit = _count(asked.get("limit"), "limit", 1)
    return found[begin:] if limit is None else found[begin : begin + limit]


def _is_from(found: Described, provider: str) -> bool:
    """Whether a model is served by a provider of that name or kind, or made by it. ``auto`` is nobody's."""
    route, model = found
    author = as_gatewayz(model, route)["provider"]
    if author == NOBODY:
        return provider == NOBODY
    serving = {name.casefold() for target in route.targets for name in (target.provider.name, target.provider.kind)}
    return provider in serving or provider == author


def _count(given: str | None, field: str, least: int) -> int | None:
    if not given:
        return None
    most = MOST if field == "limit" else 1_000_000
    if not given.isascii() or not given.isdigit() or not least <= int(given[:8]) <= most:
        raise invalid(field, f"a whole number from {least} to {most}", given)
    return int(given)


def _json(body: Any) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
