"""What clients ask of files and batches, and what they are refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from gateway.contract.policy import CredentialPolicy
from gateway.dataplane.admission.registry import Limiter
from gateway.dataplane.auth import Credential
from gateway.kernel.secrets import digest_of
from gateway.settings.model import Batches, Key, Limit
from tests.support.raw_upstream import RawUpstream, raw_upstream, serve_completions
from tests.support.wire import Answer, wire
from tests.support.worker import KEY, provider, settings_for
from tests.unit.dataplane.batching.conftest import CHAT, LONG, Place, line, place

OTHER, POOR = "gw_test_other", "gw_test_poor"
FORM = "content-type: multipart/form-data; boundary=b"


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    """A provider that answers."""
    async with raw_upstream(serve_completions) as made:
        yield made


@pytest.fixture
async def here(upstream: RawUpstream, tmp_path: Path) -> AsyncIterator[Place]:
    """A worker for three organisations, with files of at most 2,000 bytes."""
    settings = settings_for(provider(upstream.base_url))
    once = (Limit(metric="requests", window="day", limit=1),)
    keys = (
        *settings.keys,
        Key(key=OTHER, name="other", organization="others"),
        Key(key=POOR, name="poor", organization="poor", limits=once),
    )
    limits = Batches(max_file_bytes=2_000, organization_files=3)
    async with place(msgspec.structs.replace(settings, keys=keys, batches=limits), tmp_path) as made:
        yield made


def on_disk(here: Place) -> list[str]:
    """The files whose content is there."""
    return sorted(path.name for path in here.batching.store.folder.glob("file-*"))


async def test_a_file_is_taken_listed_read_and_removed(here: Place) -> None:
    uploaded = await here.upload(b"one", b"two")
    file = uploaded.json
    assert (file["object"], file["bytes"], file["filename"], file["purpose"]) == ("file", 7, "in.jsonl", "batch")
    assert file["expires_at"] - file["created_at"] == 30 * 86_400
    assert on_disk(here) == [file["id"]]
    assert (await here.ask("GET", f"/files/{file['id']}")).json == file
    content = await here.ask("GET", f"/files/{file['id']}/content")
    assert (content.body, content.headers["content-type"]) == (b"one\ntwo", "application/octet-stream")
    second = (await here.upload(b"x", **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"})).json
    assert second["expires_at"] - second["created_at"] == 3_600
    page = (await here.ask("GET", "/files?limit=1")).json
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([second["id"]], True)
    page = (await here.ask("GET", f"/files?limit=1&after={second['id']}&purpose=batch")).json
    assert (page["data"], page["has_more"], page["last_id"]) == ([file], False, file["id"])
    assert (await here.ask("DELETE", f"/files/{file['id']}")).json == {
        "id": file["id"],
        "object": "file",
        "deleted": True,
    }
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        gone = await here.ask(method, f"/files/{file['id']}{path}")
        assert (gone.status, gone.code) == (404, "file_not_found")
    assert on_disk(here) == [second["id"]]


async def test_another_organisation_finds_nothing(here: Place) -> None:
    batch_id = await here.create(line("id"))
    batch = await here.ended(batch_id)
    for file_id in (batch["input_file_id"], batch["output_file_id"]):
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            assert (await here.ask(method, f"/files/{file_id}{path}", key=OTHER)).status == 404
    for method, path in (("GET", ""), ("POST", "/cancel")):
        found = await here.ask(method, f"/batches/{batch_id}{path}", key=OTHER)
        assert (found.status, found.code) == (404, "batch_not_found")
    for path in ("/files", "/batches"):
        assert (await here.ask("GET", path, key=OTHER)).json["data"] == []
        assert (await here.ask("GET", path, key="gw_test_none")).status == 401
    body = {"input_file_id": batch["input_file_id"], "endpoint": CHAT, "completion_window": "24h"}
    refused = await here.ask("POST", "/batches", orjson.dumps(body), key=OTHER)
    assert (refused.status, refused.json["error"]["param"]) == (404, "input_file_id")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        ({"expires_after[anchor]": "created_at"}, "expires_after.seconds"),
        ({"expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, "expires_after.anchor"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "59"}, "expires_after.seconds"),
        ({"model": "m"}, "model"),
    ],
)
async def test_a_form_that_asks_for_something_else_leaves_nothing(
    here: Place, fields: dict[str, str], param: str
) -> None:
    refused = await here.upload(b"{}", **fields)
    assert (refused.status, refused.json["error"]["param"]) == (400, param)
    assert on_disk(here) == []
    assert await here.batching.store.do(lambda database: database.used()) == 0


async def test_a_file_is_no_larger_than_it_may_be(here: Place) -> None:
    assert (await here.upload(b"x" * 2_000)).json["bytes"] == 2_000
    refused = await here.upload(b"x" * 2_001)
    assert (refused.status, refused.code, refused.json["error"]["param"]) == (413, "file_too_large", "file")
    told = await here.upload(b"x" * 70_000)
    assert told.code == "file_too_large"
    async with wire(here.gateway.address) as client:  # and of which nobody has told how long it is
        head = f"POST /v1/files HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\n{FORM}\r\n"
        await client.send(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        body = b'--b\r\ncontent-disposition: form-data; name="file"; filename="x"\r\n\r\n' + b"x" * 5_000
        await client.send(b"%x\r\n%b\r\n" % (len(body), body))
        assert (await client.answer()).code == "file_too_large"
    assert len(on_disk(here)) == 1
    assert await here.batching.store.do(lambda database: database.used()) == 2_000


async def test_an_organisation_has_no_more_files_than_it_may(here: Place) -> None:
    for _ in range(3):
        assert (await here.upload(b"x")).status == 200
    refused = await here.upload(b"x")
    assert (refused.status, refused.code) == (403, "storage_quota_exceeded")
    assert (await here.upload(b"x", key=OTHER)).status == 200


async def test_of_a_client_that_leaves_nothing_stays(here: Place) -> None:
    async with wire(here.gateway.address) as client:
        head = f"POST /v1/files HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\n{FORM}\r\n"
        await client.send(f"{head}content-length: 1500\r\n\r\n--b\r\n".encode())
        async with asyncio.timeout(LONG):
            while not await here.batching.store.do(lambda database: database.used()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            client.leave()
            while await here.batching.store.do(lambda database: database.used()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert on_disk(here) == []


async def test_what_writes_counts_against_the_limits_on_requests(here: Place) -> None:
    assert (await here.upload(b"x", key=POOR)).status == 200
    assert (await here.upload(b"x", key=POOR)).status == 429
    assert (await here.ask("GET", "/files", key=POOR)).status == 200


GOOD: dict[str, Any] = {"input_file_id": "file-none", "endpoint": CHAT, "completion_window": "24h"}


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({}, 404, "input_file_id"),
        ({"input_file_id": None}, 400, "input_file_id"),
        ({"input_file_id": 7}, 400, "input_file_id"),
        ({"endpoint": None}, 400, "endpoint"),
        ({"endpoint": "/v1/images/generations"}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"metadata": {"a": 1}}, 400, "metadata.a"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, 400, "output_expires_after.seconds"),
        ({"output_expires_after": 3_600}, 400, "output_expires_after"),
        ({"window": "24h"}, 400, "window"),
    ],
)
async def test_a_batch_that_cannot_be_is_refused(here: Place, changes: dict[str, Any], status: int, param: str) -> None:
    body = {name: value for name, value in (GOOD | changes).items() if value is not None}
    refused = await here.ask("POST", "/batches", orjson.dumps(body))
    assert (refused.status, refused.json["error"]["param"]) == (status, param)


async def test_outputs_go_when_the_client_says(here: Place) -> None:
    wanted = {"anchor": "created_at", "seconds": 7_200}
    batch = await here.ended(await here.create(line("id"), output_expires_after=wanted))
    file = (await here.ask("GET", f"/files/{batch['output_file_id']}")).json
    assert file["expires_at"] - file["created_at"] == 7_200


async def test_a_batch_that_is_over_cannot_be_cancelled(here: Place) -> None:
    batch_id = await here.create(line("id"))
    await here.ended(batch_id)
    refused = await here.ask("POST", f"/batches/{batch_id}/cancel")
    assert (refused.status, refused.code) == (409, "batch_not_cancellable")


async def test_batches_are_listed_page_by_page(here: Place) -> None:
    ids = [await here.create(line("id")) for _ in range(3)]
    page = (await here.ask("GET", "/batches?limit=2")).json
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([ids[2], ids[1]], True)
    page = (await here.ask("GET", f"/batches?after={page['last_id']}")).json
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([ids[0]], False)
    refused = await here.ask("GET", "/batches?limit=0")
    assert (refused.status, refused.json["error"]["param"]) == (400, "limit")


async def test_a_token_creates_no_batch(here: Place) -> None:
    token = "eyJ.x.y"
    policy = CredentialPolicy("jwt", "jwt", "jwt", "acme")
    here.gateway.runtime.credentials._by_digest[digest_of(token.encode())] = Credential(policy, Limiter(()))
    file_id = (await here.upload(line("id"), key=token)).json["id"]
    refused: Answer = await here.ask("POST", "/batches", orjson.dumps(GOOD | {"input_file_id": file_id}), key=token)
    assert (refused.status, refused.code) == (403, "api_key_required")


async def test_a_credential_without_calls_of_models_uploads_nothing(here: Place) -> None:
    policy = CredentialPolicy("narrow", "narrow", "api_key", "acme", inference=False)
    here.gateway.runtime.credentials._by_digest[digest_of(b"narrow")] = Credential(policy, Limiter(()))
    assert (await here.upload(line("id"), key="narrow")).status == 403
    assert (await here.ask("POST", "/batches", orjson.dumps(GOOD), key="narrow")).status == 403
