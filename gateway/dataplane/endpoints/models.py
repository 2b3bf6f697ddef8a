"""``GET /v1/models``: the models a key may use, in the list of OpenAI's reference ("Models") or of Anthropic's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.dataplane.auth import check, secret_of
from gateway.dataplane.endpoints import anthropic_models as anthropic

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.auth import Credential
    from gateway.dataplane.routing import Route as ModelRoute

_PREFIXES = ("/v1", "", "/api/v1/llm")


def routes(worker: Worker) -> list[Route]:
    """The list and the single model, under every prefix that inference has."""

    async def offered(request: Request) -> list[ModelRoute]:
        caller = await authenticate(worker, request)
        known = worker.runtime.router.routes.values()
        return [route for route in known if not caller.models or route.name in caller.models]

    async def list_models(request: Request) -> Response:
        if anthropic.asked_by(request):
            return await anthropic.answer(request, worker.created, offered)
        data = [_describe(route, worker) for route in await offered(request)]
        return Response(orjson.dumps({"object": "list", "data": data}), media_type="application/json")

    async def read_model(request: Request) -> Response:
        if anthropic.asked_by(request):
            return await anthropic.answer(request, worker.created, offered)
        caller = await authenticate(worker, request)
        route = worker.runtime.router.find(request.path_params["model"], caller.models)
        return Response(orjson.dumps(_describe(route, worker)), media_type="application/json")

    found = []
    for prefix in _PREFIXES:
        found.append(Route(f"{prefix}/models", list_models))
        found.append(Route(f"{prefix}/models/{{model:path}}", read_model))
    return found


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


def _describe(route: ModelRoute, worker: Worker) -> dict[str, Any]:
    described: dict[str, Any] = {
        "id": route.name,
        "object": "model",
        "created": worker.created,
        "owned_by": route.targets[0].provider.name,
    }
    if route.context_length is not None:
        described["context_length"] = route.context_length
    return described
