"""Kept Responses: read, list their input, remove, cancel.

Source: OpenAI API reference, "Responses". What another organisation keeps does not exist here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.dataplane.endpoints.models import authenticate
from gateway.dataplane.stored.following import follow
from gateway.dataplane.stored.records import RUNNING, Json, Record, kept
from gateway.kernel.errors import GatewayError, Kind
from gateway.protocols.responses.checks import one_of, refusal

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.stored.store import Store

PREFIXES: Final = ("/v1", "", "/api/v1/llm")
_PAGE: Final = 20
_MOST: Final = 100


def routes(worker: Worker) -> list[Route]:
    """Every operation on one Response, under every prefix that inference has."""
    stored = Stored(worker)
    found = []
    for prefix in PREFIXES:
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
        organization, record = await self._find(request)
        if request.query_params.get("stream", "false").lower() != "true":
            return as_json(record.shown(time.time()))
        store, log = store_of(self._worker), self._worker.running.logs.get(record.id)
        if log is None and not await store.events(organization, record.id, -1):
            raise refusal("Only a response that was made with 'background' and 'stream' can be streamed.", "stream")
        events = follow(store, organization, record.id, _after(request), log)
        return StreamingResponse(events, media_type="text/event-stream")

    async def remove(self, request: Request) -> Response:
        """Forget a Response; one that runs is given up."""
        organization, record = await self._find(request)
        await store_of(self._worker).remove(organization, record.id)
        self._worker.running.cancel(record.id)
        return as_json({"id": record.id, "object": "response", "deleted": True})

    async def cancel(self, request: Request) -> Response:
        """Give up a Response that is made in the background. One that is over is shown as it ended."""
        organization, record = await self._find(request)
        response = record.shown(time.time())
        if not response.get("background"):
            raise refusal("Only a response with 'background' set to true can be cancelled.", "response_id")
        if response["status"] in RUNNING:
            response["status"] = "cancelled"
            if await store_of(self._worker).end(organization, record.id, "cancelled", kept(response)):
                self._worker.running.cancel(record.id)
            else:
                _, record = await self._find(request)  # it ended in the meantime
                response = record.shown(time.time())
        return as_json(response)

    async def input_items(self, request: Request) -> Response:
        """The items a Response was asked with, page by page, the last ones first."""
        asked = page_asked(request)
        _, record = await self._find(request)
        return as_json(page(record.input_items(), asked))

    async def _find(self, request: Request) -> tuple[str, Record]:
        caller = await authenticate(self._worker, request)
        response_id = request.path_params["response_id"]
        record = await store_of(self._worker).find(caller.organization, response_id)
        if record is None:
            message = f"Response with id '{response_id[:100]}' not found."
            raise GatewayError(Kind.NOT_FOUND, "response_not_found", message, "response_id")
        return caller.organization, record


def store_of(worker: Worker) -> Store:
    """Where what is kept is. Raises :class:`~gateway.kernel.errors.GatewayError` where that is nowhere."""
    if worker.stored is None:
        raise GatewayError(Kind.UNAVAILABLE, "store_unavailable", "This gateway stores no responses.")
    return worker.stored


def _after(request: Request) -> int:
    """``starting_after``: the number of the last event that a client has."""
    given = request.query_params.get("starting_after", "-1")
    if given != "-1" and (not given.isascii() or not given.isdigit() or len(given) > 9):
        raise refusal("Invalid value for 'starting_after': expected a whole number.", "starting_after")
    return int(given)


class Asked(NamedTuple):
    """Which page of a list is wanted: ``limit`` items that come after the item ``after``."""

    after: str | None
    limit: int
    backwards: bool


def page_asked(request: Request) -> Asked:
    """The page that a request's query names. Raises :class:`~gateway.kernel.errors.GatewayError`."""
    asked = request.query_params
    order = one_of(asked.get("order", "desc"), "order", ("asc", "desc"))
    return Asked(asked.get("after"), _limit(asked.get("limit")), order == "desc")


def _limit(given: str | None) -> int:
    if given is None:
        return _PAGE
    if not given.isascii() or not given.isdigit() or not 1 <= int(given[:9]) <= _MOST:
        raise refusal(f"Invalid value for 'limit': expected a whole number from 1 to {_MOST}.", "limit")
    return int(given)


def page(items: list[Json], asked: Asked) -> Json:
    """One page of a list. Raises :class:`~gateway.kernel.errors.GatewayError` naming ``after``."""
    after, limit, backwards = asked
    if backwards:
        items = items[::-1]
    start = 0
    if after is not None:
        places = [i for i, item in enumerate(items) if item.get("id") == after]
        if not places:
            raise refusal(f"Item with id '{after[:100]}' not found.", "after", "item_not_found")
        start = places[0] + 1
    shown = items[start : start + limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": start + limit < len(items),
    }


def as_json(document: Any) -> Response:
    """A document as an answer."""
    return Response(orjson.dumps(document), media_type="application/json")
