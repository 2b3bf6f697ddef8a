"""The list of models as Anthropic's clients know it (API reference, "Models"): for who sends a version of that API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.contract.envelopes import openai
from gateway.kernel.errors import GatewayError, Kind
from gateway.protocols.base import invalid
from gateway.protocols.messages import MESSAGES

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.routing import Route

MOST: Final = 1_000
"""Models of one page at most."""
_USUAL: Final = 20


def asked_by(request: Request) -> bool:
    """Whether it is a client of Anthropic's API that asks."""
    return "anthropic-version" in request.headers


async def answer(request: Request, worker: Worker, offered: Callable[[Request], Awaitable[list[Route]]]) -> Response:
    """A page of the models, or one of them. ``offered`` gives those the caller may use and raises
    :class:`GatewayError`, which is told in Anthropic's envelope.
    """
    id = request.scope.get("state", {}).get("request_id", "")
    try:
        routes = await offered(request)
        name = request.path_params.get("model")
        known = await worker.catalogue.models(worker.runtime)
        models = {route.name: _model(known.get(route.name, {}), route.name, worker.created) for route in routes}
        body = _page(request, models) if name is None else _found(models, name)
    except GatewayError as error:
        told = openai.render(error, request_id=id, now=datetime.now(UTC))
        body = MESSAGES.error(told.status, told.body, id)
        return Response(orjson.dumps(body), told.status, told.headers, media_type="application/json")
    return Response(orjson.dumps(body), media_type="application/json")


def _found(models: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name in models:
        return models[name]
    raise GatewayError(Kind.NOT_FOUND, "model_not_found", f"The model '{name[:200]}' does not exist.", "model")


def _page(request: Request, models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    asked = request.query_params
    limit = _limit(asked.get("limit"))
    names = list(models)
    begin, end = 0, len(names)
    after, before = asked.get("after_id"), asked.get("before_id")
    if after in names:
        begin = names.index(after) + 1
    if before in names:
        end = names.index(before)
        begin = max(begin, end - limit)
    shown = names[begin : min(end, begin + limit)]
    more = begin > 0 if before is not None else begin + len(shown) < end
    return {
        "data": [models[name] for name in shown],
        "has_more": more,
        "first_id": shown[0] if shown else None,
        "last_id": shown[-1] if shown else None,
    }


def _limit(given: str | None) -> int:
    if given is None:
        return _USUAL
    if not given.isascii() or not given.isdigit() or not 1 <= int(given[:6]) <= MOST:
        raise invalid("limit", f"a whole number from 1 to {MOST}", given)
    return int(given)


def _model(known: dict[str, Any], name: str, created: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
    }
    if "context_length" in known:
        told["max_input_tokens"] = known["context_length"]
    return told
