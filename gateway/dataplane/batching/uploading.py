"""Taking a file to disk while it arrives: memory holds a piece of it at most."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from gateway.dataplane.batching.form import Form
from gateway.dataplane.batching.records import PURPOSE, File
from gateway.dataplane.batching.store import Store, unavailable
from gateway.dataplane.body import invalid
from gateway.kernel.errors import GatewayError, Kind
from gateway.protocols.base import missing
from gateway.settings.model import Batches

LONGEST: Final = 3_600.0
"""Seconds that an upload may take."""
MOST_UPLOADS: Final = 32
"""Uploads that a worker takes at once."""
EXPIRES: Final = (3_600, 2_592_000)
"""The least and the most seconds that ``expires_after`` may say."""
_PIECE: Final = 262_144  # bytes written at once
_FORM: Final = 65_536  # bytes that a form may have beside its file


def new_file_id() -> str:
    """A file's name on disk and to clients."""
    return f"file-{secrets.token_hex(16)}"


class Uploads:
    """The uploads of a worker."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running = 0

    async def take(
        self, organization: str, content_type: str, length: int | None, body: AsyncIterator[bytes], limits: Batches
    ) -> File:
        """Keep the file of a form. ``length`` is the body's, where it is told. Raises :class:`GatewayError`."""
        form = Form(content_type)
        if length is not None and length > limits.max_file_bytes + _FORM:
            raise _too_large(limits)
        if self._running >= MOST_UPLOADS:
            raise GatewayError(
                Kind.UNAVAILABLE, "too_many_uploads", "Too many files are being uploaded.", retry_after=5
            )
        now = int(time.time())
        kept = int(limits.retention_days * 86_400)
        room = limits.max_file_bytes if length is None else min(length, limits.max_file_bytes)
        file = File(new_file_id(), "file", PURPOSE, room, now, now + kept)
        self._running += 1
        try:
            await self._store.do(lambda database: database.reserve(organization, file, limits))
            try:
                async with asyncio.timeout(LONGEST):
                    await self._receive(form, body, file, limits)
                await self._store.do(lambda database: database.arrived(file))
            except BaseException:
                # Shielded: a client that leaves must not leave its bytes behind.
                await asyncio.shield(self._store.do(lambda database: database.drop(file.id)))
                raise
        except TimeoutError:
            raise GatewayError(Kind.INVALID, "request_timeout", "The file did not arrive in time.") from None
        except OSError as error:
            raise unavailable(error) from None
        finally:
            self._running -= 1
        return file

    async def _receive(self, form: Form, body: AsyncIterator[bytes], file: File, limits: Batches) -> None:
        descriptor = await asyncio.to_thread(_create, self._store.path(file.id))
        received = 0
        try:
            async for data in body:
                received += len(data)
                form.feed(data)
                if form.size > limits.max_file_bytes or received > limits.max_file_bytes + _FORM:
                    raise _too_large(limits)
                if len(form.arrived) >= _PIECE:
                    await asyncio.to_thread(_write, descriptor, form.taken())
            _complete(form, file)
            await asyncio.to_thread(_write, descriptor, form.taken())
            await asyncio.to_thread(os.fsync, descriptor)
        finally:
            os.close(descriptor)


def _complete(form: Form, file: File) -> None:
    """Check what came beside the file. Raises :class:`GatewayError` naming the field."""
    if not form.is_complete:
        raise invalid("The multipart body ends before its last boundary.", code="invalid_multipart")
    if form.filename is None:
        raise missing("file")
    purpose = form.fields.get("purpose")
    if purpose is None:
        raise missing("purpose")
    if purpose != PURPOSE:
        raise invalid(f"Invalid value for 'purpose': expected '{PURPOSE}', got '{purpose[:100]}'.", "purpose")
    anchor, seconds = (form.fields.get(f"expires_after[{name}]") for name in ("anchor", "seconds"))
    if anchor is not None or seconds is not None:
        whole = int(seconds[:20]) if seconds is not None and seconds.isascii() and seconds.isdigit() else seconds
        wanted = expires_after({"anchor": anchor, "seconds": whole}, "expires_after")
        file.expires = min(file.expires, file.created + wanted)
    file.bytes = form.size
    file.filename = form.filename


def expires_after(given: object, field: str) -> int:
    """Seconds after which a client wants a file removed. Raises :class:`GatewayError` naming the field."""
    least, most = EXPIRES
    if not isinstance(given, dict) or set(given) - {"anchor", "seconds"}:
        raise invalid(f"Invalid value for '{field}': expected an object with 'anchor' and 'seconds'.", field)
    if given.get("anchor") != "created_at":
        raise invalid(f"Invalid value for '{field}.anchor': expected 'created_at'.", f"{field}.anchor")
    seconds = given.get("seconds")
    if type(seconds) is not int or not least <= seconds <= most:
        message = f"Invalid value for '{field}.seconds': expected a whole number from {least} to {most}."
        raise invalid(message, f"{field}.seconds")
    return seconds


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _too_large(limits: Batches) -> GatewayError:
    message = f"The file is larger than the {limits.max_file_bytes} bytes allowed."
    return GatewayError(Kind.TOO_LARGE, "file_too_large", message, "file")
