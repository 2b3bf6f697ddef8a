"""uvicorn's HTTP protocol that also records connections and the bytes that came over them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.support.fake_openai.recording import Connection, Recording


def recording_protocol(recording: Recording) -> type[asyncio.Protocol]:
    """A protocol class whose connections report to ``recording``."""

    class RecordingProtocol(HttpToolsProtocol):
        record: Connection

        def connection_made(self, transport: Any) -> None:
            self.record = recording.opened(transport)
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            self.record.bytes_received += len(data)
            super().data_received(data)

        def eof_received(self) -> None:
            self.record.closed_by_peer = True

        def connection_lost(self, exc: Exception | None) -> None:
            def close() -> None:
                self.record.closed_at = time.monotonic()
                self.record.closed_by_peer |= exc is not None
                self.record.transport = None

            recording.update(close)
            super().connection_lost(exc)

    return RecordingProtocol
