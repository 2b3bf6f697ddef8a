"""A worker with batches, in the test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from gateway.dataplane.batching.records import Batch
from gateway.dataplane.batching.service import Batching
from gateway.settings.model import Settings
from tests.support.raw_upstream import WAIT
from tests.support.wire import Answer, wire
from tests.support.worker import KEY, RunningWorker, running_worker

CHAT = "/v1/chat/completions"
LONG = 3 * WAIT


class Place:
    """A running worker and its batches, as a client and as a test sees them."""

    def __init__(self, gateway: RunningWorker, batching: Batching) -> None:
        self.gateway = gateway
        self.batching = batching

    async def ask(self, method: str, path: str, body: bytes = b"", *lines: str, key: str = KEY) -> Answer:
        """One request, on a connection of its own."""
        head = [f"{method} /v1{path} HTTP/1.1", "host: g", f"authorization: Bearer {key}", *lines]
        head.append(f"content-length: {len(body)}")
        async with wire(self.gateway.address) as client:
            await client.send("\r\n".join([*head, "", ""]).encode() + body)
            return await client.answer()

    async def upload(self, *lines: dict[str, Any] | bytes, key: str = KEY, **fields: str) -> Answer:
        """A file of these lines."""
        written = b"\n".join(line if isinstance(line, bytes) else orjson.dumps(line) for line in lines)
        body = b"".join(
            f'--b\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in {"purpose": "batch", **fields}.items()
        )
        body += b'--b\r\ncontent-disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
        body += written + b"\r\n--b--\r\n"
        return await self.ask("POST", "/files", body, "content-type: multipart/form-data; boundary=b", key=key)

    async def create(self, *lines: dict[str, Any] | bytes, key: str = KEY, **fields: Any) -> str:
        """A batch of these lines; its id."""
        uploaded = await self.upload(*lines, key=key)
        assert uploaded.status == 200, uploaded.body
        asked = {"input_file_id": uploaded.json["id"], "endpoint": CHAT, "completion_window": "24h", **fields}
        created = await self.ask("POST", "/batches", orjson.dumps(asked), key=key)
        assert created.status == 200, created.body
        assert created.json["status"] == "validating"
        return str(created.json["id"])

    async def read(self, batch_id: str) -> dict[str, Any]:
        """A batch as its client sees it."""
        found: dict[str, Any] = (await self.ask("GET", f"/batches/{batch_id}")).json
        return found

    async def until(self, batch_id: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """A batch once that holds."""
        async with asyncio.timeout(LONG):
            while not is_so(found := await self.read(batch_id)):  # noqa: ASYNC110 - another process could change it
                await asyncio.sleep(0.01)
        return found

    async def ended(self, batch_id: str) -> dict[str, Any]:
        """A batch once it is over."""
        return await self.until(
            batch_id, lambda batch: batch["status"] in ("completed", "failed", "expired", "cancelled")
        )

    async def lines(self, file_id: str | None) -> dict[str, Any]:
        """The lines of a file by their custom_id; empty where there is no file."""
        if file_id is None:
            return {}
        answer = await self.ask("GET", f"/files/{file_id}/content")
        assert answer.status == 200
        found = [orjson.loads(line) for line in answer.body.splitlines()]
        by_id = {line["custom_id"]: line for line in found}
        assert len(by_id) == len(found)
        return by_id

    async def change(self, batch_id: str, **fields: Any) -> None:
        """Change what is kept of a batch."""

        def change(batch: Batch) -> None:
            for name, value in fields.items():
                setattr(batch, name, value)

        await self.batching.store.do(lambda database: database.change(batch_id, change))

    async def restart(self) -> None:
        """As after another worker has taken over."""
        await self.stop()
        self.start()

    async def stop(self) -> None:
        """The worker leaves."""
        await self.batching.runner.finish(0.0)
        await self.batching.close()

    def start(self) -> None:
        """Begin anew over what is kept."""
        worker = self.gateway.worker
        worker.batching = self.batching = Batching(worker, self.batching.store.folder.parent)
        self.batching.runner.start()


def line(custom_id: str, said: str = "hello", **body: Any) -> dict[str, Any]:
    """A line that asks ``m``."""
    asked = {"model": "m", "messages": [{"role": "user", "content": said}], **body}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": asked}


@asynccontextmanager
async def place(settings: Settings, directory: Path) -> AsyncIterator[Place]:
    """A worker that works through batches for the duration of the block."""
    async with running_worker(settings, directory) as gateway:
        found = Place(gateway, Batching(gateway.worker, directory))
        found.start()
        try:
            yield found
        finally:
            await found.stop()
