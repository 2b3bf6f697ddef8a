"""Files: upload, list, read and remove.

Source: OpenAI API reference, "Files". What another organisation has does not exist here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from gateway.dataplane.auth import check_inference
from gateway.dataplane.batching.database import no_file
from gateway.dataplane.batching.records import File
from gateway.dataplane.batching.service import batching_of
from gateway.dataplane.body import invalid
from gateway.dataplane.endpoints.counted import counted
from gateway.dataplane.endpoints.models import authenticate
from gateway.dataplane.endpoints.responses import PREFIXES, as_json
from gateway.protocols.responses.checks import one_of, refusal

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker

_PAGE: Final = 10_000
"""Files of a page, unless fewer are asked for; no page has more."""


def routes(worker: Worker) -> list[Route]:
    """Every operation, under every prefix that inference has."""
    handlers = Files(worker)
    found = []
    for prefix in PREFIXES:
        path = f"{prefix}/files"
        found += [
            Route(path, handlers.upload, methods=["POST"]),
            Route(path, handlers.list_files, methods=["GET"]),
            Route(f"{path}/{{file_id}}", handlers.read, methods=["GET"]),
            Route(f"{path}/{{file_id}}", handlers.remove, methods=["DELETE"]),
            Route(f"{path}/{{file_id}}/content", handlers.content, methods=["GET"]),
        ]
    return found


class Files:
    """The handlers. What writes is counted against the caller's limits on requests."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def upload(self, request: Request) -> Response:
        """A new file, kept on disk as it arrives."""
        caller = await counted(self._worker, request)
        check_inference(caller)
        batching = batching_of(self._worker)
        told = request.headers.get("content-length")
        length = int(told) if told is not None and told.isdigit() else None
        content_type = request.headers.get("content-type", "")
        try:
            file = await batching.uploads.take(
                caller.organization, content_type, length, request.stream(), batching.limits
            )
        except ClientDisconnect:
            raise invalid("The client has left before the file was here.", code="client_disconnected") from None
        return as_json(file.shown())

    async def list_files(self, request: Request) -> Response:
        """The files, page by page, the last ones first."""
        caller = await authenticate(self._worker, request)
        asked = request.query_params
        order = one_of(asked.get("order", "desc"), "order", ("asc", "desc"))
        purpose, after = asked.get("purpose"), asked.get("after")
        limit = _limit(asked.get("limit"))
        found = await batching_of(self._worker).store.do(
            lambda database: database.files(
                caller.organization, time.time(), purpose, after, limit + 1, ascending=order == "asc"
            )
        )
        shown = [file.shown() for file in found[:limit]]
        return as_json(
            {
                "object": "list",
                "data": shown,
                "first_id": shown[0]["id"] if shown else None,
                "last_id": shown[-1]["id"] if shown else None,
                "has_more": len(found) > limit,
            }
        )

    async def read(self, request: Request) -> Response:
        """What is known of a file."""
        return as_json((await self._find(request))[1].shown())

    async def content(self, request: Request) -> Response:
        """Its bytes, from the disk as the client reads them."""
        _, file = await self._find(request)
        path = batching_of(self._worker).store.path(file.id)
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise no_file(file.id, "file_id") from None
        return FileResponse(path, media_type="application/octet-stream", filename=file.filename, stat_result=stat)

    async def remove(self, request: Request) -> Response:
        """Remove a file that no batch needs any more."""
        organization, file = await self._find(request)
        await batching_of(self._worker).store.do(lambda database: database.remove(organization, file.id))
        return as_json({"id": file.id, "object": "file", "deleted": True})

    async def _find(self, request: Request) -> tuple[str, File]:
        caller = await authenticate(self._worker, request)
        file_id = request.path_params["file_id"]
        found = await batching_of(self._worker).store.do(
            lambda database: database.file(caller.organization, file_id, time.time())
        )
        if found is None:
            raise no_file(file_id, "file_id")
        return caller.organization, found


def _limit(given: str | None) -> int:
    if given is None:
        return _PAGE
    if not given.isascii() or not given.isdigit() or not 1 <= int(given[:9]) <= _PAGE:
        raise refusal(f"Invalid value for 'limit': expected a whole number from 1 to {_PAGE}.", "limit")
    return int(given)
