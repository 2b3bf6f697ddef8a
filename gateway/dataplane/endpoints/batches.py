"""Batches: create, read, list, cancel. Their requests are asked by :mod:`gateway.dataplane.batching.runner`.

Source: OpenAI API reference, "Batch". What another organisation has does not exist here.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.dataplane.auth import check_inference, secret_in
from gateway.dataplane.batching.lines import ENDPOINTS
from gateway.dataplane.batching.records import WINDOW, Author, Batch
from gateway.dataplane.batching.service import Batching, batching_of
from gateway.dataplane.batching.uploading import expires_after
from gateway.dataplane.body import invalid
from gateway.dataplane.credentials import query_for
from gateway.dataplane.endpoints.counted import counted, json_body
from gateway.dataplane.endpoints.models import authenticate
from gateway.dataplane.endpoints.responses import PREFIXES, as_json, page_asked
from gateway.dataplane.stored.records import Json
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.secrets import digest_of
from gateway.protocols.responses.checks import one_of, refusal, string
from gateway.protocols.responses.request import check_metadata

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.auth import Credential

_FIELDS: Final = ("input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after")


def routes(worker: Worker) -> list[Route]:
    """Every operation, under every prefix that inference has."""
    handlers = Batches(worker)
    found = []
    for prefix in PREFIXES:
        path = f"{prefix}/batches"
        found += [
            Route(path, handlers.create, methods=["POST"]),
            Route(path, handlers.list_batches, methods=["GET"]),
            Route(f"{path}/{{batch_id}}", handlers.read, methods=["GET"]),
            Route(f"{path}/{{batch_id}}/cancel", handlers.cancel, methods=["POST"]),
        ]
    return found


class Batches:
    """The handlers. What writes is counted against the caller's limits on requests."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def create(self, request: Request) -> Response:
        """A new batch, which begins when its turn comes."""
        caller = await counted(self._worker, request)
        check_inference(caller)
        batching = batching_of(self._worker)
        author = _author(request, caller)
        batch = _read(await json_body(self._worker, request), caller.organization, author)
        limits = batching.limits
        await batching.store.do(lambda database: database.create(batch, limits, time.time()))
        batching.runner.wake()
        return as_json(batch.shown())

    async def read(self, request: Request) -> Response:
        """A batch as it is now."""
        caller = await authenticate(self._worker, request)
        return as_json((await self._find(request, caller.organization)).shown())

    async def list_batches(self, request: Request) -> Response:
        """The batches, page by page, the newest first."""
        caller = await authenticate(self._worker, request)
        asked = page_asked(request)
        found = await batching_of(self._worker).store.do(
            lambda database: database.batches(caller.organization, asked.after, asked.limit + 1)
        )
        shown = [batch.shown() for batch in found[: asked.limit]]
        return as_json(
            {
                "object": "list",
                "data": shown,
                "first_id": shown[0]["id"] if shown else None,
                "last_id": shown[-1]["id"] if shown else None,
                "has_more": len(found) > asked.limit,
            }
        )

    async def cancel(self, request: Request) -> Response:
        """Ask nothing more. What is under way ends, and is in the files."""
        caller = await counted(self._worker, request)
        found = await self._find(request, caller.organization)

        def cancel(batch: Batch) -> None:
            if batch.status in ("validating", "in_progress"):
                batch.enter("cancelling", time.time())

        batching: Batching = batching_of(self._worker)
        batch = await batching.store.do(lambda database: database.change(found.id, cancel))
        if batch is None:
            raise _not_found(found.id)
        if batch.status not in ("cancelling", "cancelled"):
            message = f"A batch that is {batch.status.replace('_', ' ')} can't be cancelled."
            raise GatewayError(Kind.CONFLICT, "batch_not_cancellable", message, "batch_id")
        batching.runner.wake()
        return as_json(batch.shown())

    async def _find(self, request: Request, organization: str) -> Batch:
        batch_id = request.path_params["batch_id"]
        found = await batching_of(self._worker).store.do(lambda database: database.batch(organization, batch_id))
        if found is None:
            raise _not_found(batch_id)
        return found


def _author(request: Request, caller: Credential) -> Author:
    """Whose credential the requests go under; its secret is not kept. Raises :class:`GatewayError` for a token."""
    secret = secret_in(request.scope["headers"])
    assert secret is not None
    query = query_for(secret, digest_of(secret))
    if query.digest is None:
        message = "A batch goes on for hours: create it with an API key, not with a token that is soon over."
        raise GatewayError(Kind.FORBIDDEN, "api_key_required", message)
    address = request.client.host if request.client is not None else None
    return Author(caller.id, query.digest, query.app, address)


def _read(body: Json, organization: str, author: Author) -> Batch:
    """What a client asks for. Raises :class:`GatewayError` naming the field."""
    for name in body:
        if name not in _FIELDS:
            message = f"Unknown parameter: '{name[:100]}': expected one of {', '.join(_FIELDS)}."
            raise refusal(message, name[:100], "unknown_parameter")
    file_id = string(body.get("input_file_id"), "input_file_id")
    endpoint = one_of(string(body.get("endpoint"), "endpoint"), "endpoint", ENDPOINTS)
    if string(body.get("completion_window"), "completion_window") != "24h":
        raise invalid("Invalid value for 'completion_window': expected '24h'.", "completion_window")
    metadata: Any = body.get("metadata")
    check_metadata(metadata)
    wanted = body.get("output_expires_after")
    now = int(time.time())
    return Batch(
        f"batch_{secrets.token_hex(16)}",
        organization,
        author,
        endpoint,
        file_id,
        now,
        now + WINDOW,
        metadata=metadata,
        output_seconds=None if wanted is None else expires_after(wanted, "output_expires_after"),
    )


def _not_found(batch_id: str) -> GatewayError:
    message = f"Batch with id '{batch_id[:100]}' not found."
    return GatewayError(Kind.NOT_FOUND, "batch_not_found", message, "batch_id")
