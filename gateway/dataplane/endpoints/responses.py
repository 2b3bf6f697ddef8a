"""Kept Responses: read, list their input, remove, cancel.

Source: OpenAI API reference, "Responses". What another organisation keeps does not exist here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.dataplane.endpoints.models import authenticate
from gateway.dataplane.stored.records import RUNNING, Json, Record, encode
from gateway.kernel.errors import GatewayError, Kind
from gateway.protocols.responses.checks import one_of, refusal

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.stored.store import Store

_PREFIXES: Final = ("/v1", "", "/api/v1/llm")
_PAGE: Final = 20
_MOST: Final = 100


def routes(worker: Worker) -> list[Route]:
    """Every operation on one Response, under every prefix that inference has."""
    stored = Stored(worker)
    found = []
    for prefix in _PREFIXES:
        path = f"{prefix}/responses/{{response_id}}"
        found.append(Route(path, stored.read, methods=["GET"]))
        found.append(Route(path, stored.remove, methods=["DELETE"]))
        found.append(Route(f"{path}/cancel", stored.cancel, methods=["POST"]))
        found.append(Route(f"{path}/input_items", stored.input_items, methods=["GET"]))
    return found


class Stored:
    """The handlers."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def read(self, request: Request) -> Response:
        """The Response as it is now."""
        if request.query_params.get("stream", "false").lower() == "true":
            raise refusal("A stored response can't be streamed: read it without 'stream'.", "stream")
        _, record = await self._find(request)
        return _json(record.shown(time.time()))

    async def remove(self, request: Request) -> Response:
        """Forget a Response; one that runs is given up."""
        organization, record = await self._find(request)
        await self._store().remove(organization, record.id)
        self._worker.running.cancel(record.id)
        return _json({"id": record.id, "object": "response", "deleted": True})

    async def cancel(self, request: Request) -> Response:
        """Give up a Response that is made in the background. One that is over is shown as it ended."""
        organization, record = await self._find(request)
        response = record.shown(time.time())
        if not response.get("background"):
            raise refusal("Only a response with 'background' set to true can be cancelled.", "response_id")
        if response["status"] in RUNNING:
            response["status"] = "cancelled"
            if await self._store().end(organization, record.id, "cancelled", encode(response)):
                self._worker.running.cancel(record.id)
            else:
                _, record = await self._find(request)  # it ended in the meantime
                response = record.shown(time.time())
        return _json(response)

    async def input_items(self, request: Request) -> Response:
        """The items a Response was asked with, page by page, the last ones first."""
        asked = request.query_params
        order = one_of(asked.get("order", "desc"), "order", ("asc", "desc"))
        limit = _limit(asked.get("limit"))
        _, record = await self._find(request)
        items = record.input_items()
        if order == "desc":
            items.reverse()
        return _json(_page(items, asked.get("after"), limit))

    def _store(self) -> Store:
        store = self._worker.stored
        if store is None:
            raise GatewayError(Kind.UNAVAILABLE, "store_unavailable", "This gateway stores no responses.")
        return store

    async def _find(self, request: Request) -> tuple[str, Record]:
        caller = await authenticate(self._worker, request)
        response_id = request.path_params["response_id"]
        record = await self._store().find(caller.organization, response_id)
        if record is None:
            message = f"Response with id '{response_id[:100]}' not found."
            raise GatewayError(Kind.NOT_FOUND, "response_not_found", message, "response_id")
        return caller.organization, record


def _limit(given: str | None) -> int:
    if given is None:
        return _PAGE
    if not given.isascii() or not given.isdigit() or not 1 <= int(given[:9]) <= _MOST:
        raise refusal(f"Invalid value for 'limit': expected a whole number from 1 to {_MOST}.", "limit")
    return int(given)


def _page(items: list[Json], after: str | None, limit: int) -> Json:
    start = 0
    if after is not None:
        places = [i for i, item in enumerate(items) if item.get("id") == after]
        if not places:
            raise refusal(f"Item with id '{after[:100]}' not found.", "after", "item_not_found")
        start = places[0] + 1
    page = items[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + limit < len(items),
    }


def _json(document: Any) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
