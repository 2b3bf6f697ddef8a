"""Files and batches through the official OpenAI SDK, over a provider like OpenAI's and one that is translated."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types import Batch
from openai.types.chat import ChatCompletion
from openai.types.create_embedding_response import CreateEmbeddingResponse
from openai.types.responses import Response

from tests.scenarios.admission import MASTER, as_master, sidecar_answers
from tests.scenarios.protocols.conftest import CLAUDE, GATEWAY_KEY, config
from tests.support.fake_anthropic import FakeAnthropic
from tests.support.fake_openai import FakeOpenAI
from tests.support.gateway import RunningGateway, running_gateway

OTHER_KEY = "gw_live_protocols_other_0123456789"
LONG = 60.0
OVER = ("completed", "failed", "expired", "cancelled")


@pytest.fixture(scope="module")
def gateway(
    claude: FakeAnthropic, gpt: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway of two workers and a ledger: whichever takes a request, one of them works through the batch."""
    settings = config(claude, gpt) | {"master_key": MASTER}
    settings["server"] |= {"workers": 2, "limits_per_worker": True}
    for name in ("fake-embed", "gated-head"):
        settings["models"].append({"name": name, "targets": [{"provider": "oai", "model": name}]})
    settings["keys"].append({"key": OTHER_KEY, "name": "other", "organization": "others"})
    with running_gateway(settings, tmp_path_factory.mktemp("batches")) as running:
        yield running


def client_of(gateway: RunningGateway, key: str) -> OpenAI:
    """A client that asks on a new connection each time, so that any worker may answer."""
    alone = {"connection": "close"}
    return OpenAI(base_url=gateway.base_url, api_key=key, max_retries=0, timeout=LONG, default_headers=alone)


@pytest.fixture(scope="module")
def client(gateway: RunningGateway) -> Iterator[OpenAI]:
    """The client of one organisation."""
    with client_of(gateway, GATEWAY_KEY) as made:
        yield made


def create(client: OpenAI, endpoint: Any, *bodies: dict[str, Any]) -> Batch:
    """A batch of these requests, named 0, 1, 2 …"""
    lines = [{"custom_id": str(i), "method": "POST", "url": endpoint, "body": body} for i, body in enumerate(bodies)]
    written = "\n".join(json.dumps(line) for line in lines).encode()
    file = client.files.create(file=("requests.jsonl", written), purpose="batch")
    assert (file.bytes, file.filename, file.purpose) == (len(written), "requests.jsonl", "batch")
    assert client.files.content(file.id).content == written
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")


def once(found: Callable[[], Any], is_so: Callable[[Any], bool]) -> Any:
    """What ``found`` gives once that holds for it."""
    until = time.monotonic() + LONG
    while not is_so(now := found()):
        assert time.monotonic() < until, now
        time.sleep(0.05)
    return now


def ended(client: OpenAI, batch: Batch) -> Batch:
    """The batch once it is over."""
    over: Batch = once(lambda: client.batches.retrieve(batch.id), lambda now: now.status in OVER)
    return over


def ledger(gateway: RunningGateway, batch: Batch) -> list[tuple[str, str, int]]:
    """Provider, credential and cost of the ledger's entries that carry the batch's id."""
    database = gateway.config_path.parent / "data" / "gateway.db"
    statement = "SELECT provider, credential, cost_nanos FROM ledger_entries WHERE tags ->> 'batch_id' = ?"
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=LONG)) as connection:
            return connection.execute(statement, (batch.id,)).fetchall()
    except sqlite3.OperationalError:
        return []  # the tables are being made


def answers(client: OpenAI, file_id: str | None) -> dict[str, Any]:
    """What a file says, by ``custom_id``."""
    assert file_id is not None
    lines = [json.loads(line) for line in client.files.content(file_id).text.splitlines()]
    assert len({line["custom_id"] for line in lines}) == len(lines)
    return {line["custom_id"]: line for line in lines}


def chat(model: str, said: str) -> dict[str, Any]:
    """A chat."""
    return {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": said}]}


def test_chats_of_both_providers(client: OpenAI, gateway: RunningGateway) -> None:
    bodies = [chat(("fake-chat", CLAUDE)[i % 2], f"said {i}") for i in range(10)]
    batch = ended(client, create(client, "/v1/chat/completions", *bodies, chat("none", "x"), {"model": CLAUDE}))
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 12, "completed": 10, "failed": 2}
    output = answers(client, batch.output_file_id)
    assert list(output) == [str(i) for i in range(10)]
    for i in range(10):
        assert output[str(i)]["error"] is None
        said = ChatCompletion.model_validate(output[str(i)]["response"]["body"], strict=True)
        assert f"said {i}" in (said.choices[0].message.content or "")
        assert said.usage is not None
        assert said.usage.total_tokens > 0
    errors = answers(client, batch.error_file_id)
    assert [
        (each["response"]["status_code"], each["response"]["body"]["error"]["code"]) for each in errors.values()
    ] == [
        (404, "model_not_found"),
        (400, "missing_required_parameter"),
    ]
    assert client.files.retrieve(str(batch.output_file_id)).purpose == "batch_output"
    entries = once(lambda: ledger(gateway, batch), lambda found: len(found) >= 10)
    assert sorted(provider for provider, _, _ in entries) == ["ant"] * 5 + ["oai"] * 5
    assert {credential for _, credential, _ in entries} == {"protocols"}
    assert all(cost > 0 for _, _, cost in entries)
    told = httpx.get(f"{gateway.root}/metrics", headers={"authorization": f"Bearer {gateway.key}"}).text
    assert 'gateway_batch_requests_total{result="completed"}' in told


def test_every_endpoint(client: OpenAI) -> None:
    made = [
        create(client, "/v1/embeddings", {"model": "fake-embed", "input": ["a", "b"]}),
        create(
            client,
            "/v1/responses",
            {"model": "fake-chat", "input": "to gpt"},
            {"model": CLAUDE, "input": "to claude", "max_output_tokens": 50},
        ),
        create(client, "/v1/completions", {"model": "fake-chat", "prompt": "Once"}),
    ]
    embedded, responded, completed = [answers(client, ended(client, batch).output_file_id) for batch in made]
    assert len(CreateEmbeddingResponse.model_validate(embedded["0"]["response"]["body"]).data) == 2
    for i, said in enumerate(("to gpt", "to claude")):
        response = Response.model_validate(responded[str(i)]["response"]["body"])
        assert said in response.output_text
        assert client.responses.retrieve(response.id).output_text == response.output_text
    assert completed["0"]["response"]["body"]["choices"][0]["text"]


def test_a_faulty_file(client: OpenAI) -> None:
    batch = ended(client, create(client, "/v1/chat/completions", chat("fake-chat", "x"), {"stream": True}))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [(fault.line, fault.param) for fault in batch.errors.data] == [(2, "body.model")]


def test_lists_and_other_organisations(client: OpenAI, gateway: RunningGateway) -> None:
    made = [create(client, "/v1/embeddings", {"model": "fake-embed", "input": "a"}) for _ in range(3)]
    listed = [batch.id for batch in client.batches.list(limit=2)]  # all pages
    assert listed[:3] == [batch.id for batch in reversed(made)]
    files = [file.id for file in client.files.list(limit=2, purpose="batch")]
    assert files[:3] == [batch.input_file_id for batch in reversed(made)]
    with client_of(gateway, OTHER_KEY) as other:
        assert list(other.batches.list()) == []
        assert list(other.files.list()) == []
        for act in (other.batches.retrieve, other.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                act(made[0].id)
        for forbidden in (other.files.retrieve, other.files.content, other.files.delete):
            with pytest.raises(openai.NotFoundError):
                forbidden(made[0].input_file_id)
    for batch in made:
        assert ended(client, batch).status == "completed"
        assert client.files.delete(batch.input_file_id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made[0].input_file_id)


def test_a_batch_that_is_cancelled(client: OpenAI) -> None:
    # This target is given up after 0.3 s, and tried again after a pause: it never ends by itself.
    batch = create(client, "/v1/chat/completions", chat("impatient", "x"), chat("impatient", "y"))
    assert client.batches.cancel(batch.id).status == "cancelling"
    over = ended(client, batch)
    assert over.status == "cancelled"
    if over.error_file_id is not None:  # its file may not have been looked at before
        told = answers(client, over.error_file_id)
        assert {each["error"]["code"] for each in told.values()} == {"batch_cancelled"}


async def test_a_key_that_is_revoked_meanwhile(gateway: RunningGateway, gpt: FakeOpenAI) -> None:
    await sidecar_answers(gateway)
    path = "/api/v1/auth/api-keys"
    revoked, stays = [
        (await as_master(gateway, "POST", path, name=name, scopes=["inference"]))["data"] for name in ("one", "two")
    ]
    with client_of(gateway, revoked["key"]) as client, client_of(gateway, stays["key"]) as same:
        gated = [chat("gated-head", f"line {i}") | {"metadata": {"gate": "revoked"}} for i in range(100)]
        batch = create(client, "/v1/chat/completions", *gated)
        gpt.gates.release("revoked", 3)
        once(lambda: client.batches.retrieve(batch.id).request_counts, lambda counts: counts.completed >= 3)
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {MASTER}"}) as master:
            assert (await master.delete(f"{gateway.root}{path}/{revoked['id']}")).is_success

        def one_more() -> Batch:
            """A line is answered at each look, so that many are left when the end of the key is heard of."""
            gpt.gates.release("revoked")
            return same.batches.retrieve(batch.id)  # what an organisation has, its other keys can read

        over = once(one_more, lambda now: now.status in OVER)
        assert over.status == "failed"
        assert [fault.code for fault in over.errors.data] == ["revoked_api_key"]
        output, errors = answers(same, over.output_file_id), answers(same, over.error_file_id)
        assert 3 <= len(output) < 100
        assert sorted([*output, *errors], key=int) == [str(i) for i in range(100)]
        assert {each["error"]["code"] for each in errors.values()} == {"batch_failed"}
