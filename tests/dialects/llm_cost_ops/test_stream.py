"""``/v1/stream``: who may listen, what they are told, and how it ends, over a real server and the real client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from gateway.dialects.llm_cost_ops import stream as module
from gateway.domain.actor import SYSTEM
from gateway.domain.budgets.service import BudgetService
from gateway.domain.credentials import repo as credentials
from gateway.domain.credentials.service import CredentialService
from gateway.domain.live import hub
from gateway.domain.organizations.service import OrganizationService
from gateway.kernel.secrets import digest_of
from gateway.sidecar.app import create_app
from tests.dialects.conftest import MASTER, Api, Person, running
from tests.dialects.llm_cost_ops.ledger import PRICE
from tests.dialects.llm_cost_ops.streaming import Served, closed, hear, priced, report, say, serving
from tests.support.postgres import PostgresServer


@pytest.fixture
async def served(api: Api, tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(api.app, tmp_path / "s") as made:
        yield made


async def revoke(api: Api, person: Person) -> None:
    """End a person's key."""
    async with api.sidecar.works.begin(SYSTEM) as work:
        row = await credentials.by_digest(work.session, digest_of(person.key.encode()))
        assert row is not None
        await CredentialService(work).revoke(row.id)


async def test_costs_and_usage_are_told_as_documented(api: Api, served: Served) -> None:
    await priced(api)
    person = await api.person(role="analyst")
    own = person.organization
    client = await served.listen(person.key, f"costs:{own}", f"usage:{own}:openai")
    id = await report(api, own, tags=["team:search"], metadata={"request_id": "theirs"})
    cost, usage = await hear(client), await hear(client)
    assert cost["channel"] == f"costs:{own}"
    assert cost["event"] == "cost.calculated"
    assert cost["timestamp"].endswith("Z")
    told = {"usage_id": id, "total_cost": 2.0, "provider": "openai", "model_id": "gpt-4"}
    assert told.items() <= cost["data"].items()
    assert (usage["channel"], usage["event"]) == (f"usage:{own}:openai", "usage.submitted")
    assert usage["data"]["metadata"] == {"request_id": "theirs"}
    assert (usage["data"]["input_tokens"], usage["data"]["tags"]) == (1000, ["team:search"])


async def test_an_unpriced_request_is_usage_and_its_late_price_a_cost(api: Api, served: Served) -> None:
    person = await api.person(role="analyst")
    own = person.organization
    client = await served.listen(person.key, f"costs:{own}", f"usage:{own}")
    id = await report(api, own, "nobody-knows", provider="cohere")
    told = await hear(client)
    assert (told["event"], told["data"]["total_cost"]) == ("usage.submitted", None)
    price = PRICE | {"provider": "cohere", "model_id": "nobody-knows"}
    assert (await api.master.post("/api/v1/pricing", json=price)).status_code == 201
    told = await hear(client)
    assert (told["event"], told["data"]["kind"], told["data"]["total_cost"]) == ("cost.calculated", "adjustment", 2.0)
    assert told["data"]["corrects"] == id


async def test_each_organization_hears_its_own_and_the_master_key_all(api: Api, served: Served) -> None:
    await priced(api)
    first, second = await api.person("a@x.example", "viewer"), await api.person("b@x.example", "viewer")
    mine = await served.listen(first.key, f"costs:{first.organization}")
    every = await served.listen(MASTER, "costs:*")
    refused = await say(
        mine, action="subscribe", channels=[f"costs:{first.organization}", f"costs:{second.organization}"]
    )
    assert (refused["action"], refused["error"]["code"]) == ("error", "INSUFFICIENT_PERMISSIONS")
    assert (await say(mine, action="subscribe", channels=["usage:*"]))["error"]["code"] == "INSUFFICIENT_PERMISSIONS"
    theirs, own = await report(api, second.organization), await report(api, first.organization)
    assert (await hear(mine))["data"]["usage_id"] == own
    heard = [await hear(every), await hear(every)]
    assert [item["data"]["usage_id"] for item in heard] == [theirs, own]
    assert [item["data"]["organization_id"] for item in heard] == [second.organization, first.organization]
    assert {item["channel"] for item in heard} == {"costs:*"}


async def test_an_organization_by_its_slug_is_told_by_its_id(api: Api, served: Served) -> None:
    own = await api.organization("Acme Inc")
    async with api.sidecar.works.read(SYSTEM) as work:
        slug = (await OrganizationService(work).get(own)).slug
    person = await api.person(role="analyst", organization=own)
    for secret in (MASTER, person.key):
        client = await served.connect(secret)
        told = await say(client, action="subscribe", channels=[f"costs:{slug}", f"costs:{own}"])
        assert told["channels"] == [f"costs:{own}"]


async def test_unsubscribed_channels_are_silent(api: Api, served: Served) -> None:
    await priced(api)
    client = await served.listen(MASTER, "costs:default", "usage:default")
    left = await say(client, action="unsubscribe", channels=["costs:default", "costs:unknown"])
    assert (left["action"], left["channels"]) == ("unsubscribed", ["usage:default"])
    await report(api, "default")
    assert (await hear(client))["channel"] == "usage:default"
    assert (await say(client, action="ping"))["action"] == "pong"


WRONG = [
    ("{", "BAD_REQUEST", None),
    ("[" * 20_000, "BAD_REQUEST", None),
    ("[]", "VALIDATION_ERROR", "body"),
    ('{"action": "shout"}', "VALIDATION_ERROR", "action"),
    ('{"channels": ["costs:default"]}', "MISSING_REQUIRED_FIELD", "action"),
    ('{"action": "subscribe"}', "VALIDATION_ERROR", "channels"),
    ('{"action": "subscribe", "chanels": ["costs:default"]}', "VALIDATION_ERROR", "chanels"),
    ('{"action": "subscribe", "channels": ["costs"]}', "VALIDATION_ERROR", "channels[0]"),
    ('{"action": "subscribe", "channels": ["usage:default:"]}', "VALIDATION_ERROR", "channels[0]"),
    ('{"action": "subscribe", "channels": ["usage:default", "alerts:default:x"]}', "NOT_FOUND", "organization_id"),
    ('{"action": "subscribe", "channels": ["usage:default", "alarms:default"]}', "VALIDATION_ERROR", "channels[1]"),
    ('{"action": "subscribe", "channels": ["forecasts:"]}', "VALIDATION_ERROR", "channels[0]"),
    ('{"action": "subscribe", "channels": ["costs:nobody"]}', "NOT_FOUND", "organization_id"),
]


async def test_what_is_wrong_is_told_and_ends_nothing(served: Served) -> None:
    client = await served.connect(MASTER)
    for sent, code, field in WRONG:
        await client.send(sent)
        told = await hear(client)
        assert (told["action"], told["error"]["code"]) == ("error", code), sent
        assert field is None or told["error"]["details"][0]["field"] == field, sent
        assert told["request_id"]
    assert (await say(client, action="ping"))["action"] == "pong"


async def test_who_may_not_listen_is_refused(api: Api, served: Served) -> None:
    for secret, code in (
        (None, "MISSING_CREDENTIALS"),
        ("sk_live_nobody", "INVALID_API_KEY"),
        ("a.b.c", "INVALID_API_KEY"),
    ):
        with pytest.raises(InvalidStatus) as caught:
            await served.connect(secret)
        assert caught.value.response.status_code == 401
        assert json.loads(caught.value.response.body or b"")["error"]["code"] == code
    guest = await api.person(role="guest")
    client = await served.connect(guest.key, query=True)
    told = await say(client, action="subscribe", channels=[f"costs:{guest.organization}"])
    assert told["error"]["code"] == "INSUFFICIENT_PERMISSIONS"
    plain = await api.anyone.get("/v1/stream")
    assert (plain.status_code, plain.headers["upgrade"]) == (426, "websocket")


async def test_an_organization_has_only_so_many_listeners(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "EACH", 1)
    first = await served.connect(MASTER)
    with pytest.raises(InvalidStatus) as caught:
        await served.connect(MASTER)
    refused = caught.value.response
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert json.loads(refused.body or b"")["error"]["code"] == "TOO_MANY_REQUESTS"
    await first.close()


async def test_a_token_of_a_sign_in_listens_until_it_is_signed_out(api: Api, served: Served) -> None:
    await api.person("x@x.example", "analyst", password="correct horse battery")
    session = await api.sidecar.sessions.sign_in("x@x.example", "correct horse battery")
    client = await served.connect(session.tokens.access_token, query=True)
    told = await say(client, action="subscribe", channels=[f"costs:{session.organization.id}"])
    assert told["action"] == "subscribed"
    await api.sidecar.sessions.sign_out(session.tokens.access_token)
    code, reason = await closed(client)
    assert (code, reason.partition(":")[0]) == (1008, "INVALID_TOKEN")


async def test_a_revoked_key_loses_the_stream(api: Api, served: Served) -> None:
    person = await api.person(role="analyst")
    client = await served.listen(person.key, f"costs:{person.organization}")
    await revoke(api, person)
    told = await hear(client)
    assert (told["action"], told["error"]["code"]) == ("error", "INVALID_API_KEY")
    assert (await closed(client))[0] == 1008
    assert len(api.sidecar.live) == 0


async def test_who_loses_the_right_loses_the_stream(api: Api, served: Served) -> None:
    person = await api.person(role="analyst")
    client = await served.listen(person.key, f"costs:{person.organization}")
    made = await api.master.put(f"/roles/{person.id}", json={"role": "guest"})
    assert made.status_code == 200, made.text
    assert (await closed(client)) == (1008, "INSUFFICIENT_PERMISSIONS: This needs the permission costs:read.")


async def test_a_token_that_runs_out_ends_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK", 0.05)
    async with running(tmp_path / "data") as api, serving(api.app, tmp_path / "s") as served:
        await api.person("x@x.example", "analyst", password="correct horse battery")
        token = (await api.sidecar.sessions.sign_in("x@x.example", "correct horse battery")).tokens.access_token
        client = await served.connect(token)
        assert (await say(client, action="ping"))["action"] == "pong"
        was = api.sidecar.works._clock
        api.sidecar.works._clock = lambda: was().replace(year=was().year + 1)
        code, reason = await closed(client)
        assert (code, reason.partition(":")[0]) == (1008, "TOKEN_EXPIRED")


async def test_a_client_that_does_not_read_is_told_what_it_missed(
    api: Api, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "QUEUE", 20)
    await priced(api)
    client = await served.connect(MASTER, max_queue=1)
    assert (await say(client, action="subscribe", channels=["usage:default"]))["action"] == "subscribed"
    text = {"text": "x" * 15_000}
    sent = 0
    while not api.sidecar.live.missed:
        record = {"organization_id": "default", "provider": "openai", "model_id": "gpt-4", "input_tokens": 1,
                  "output_tokens": 1, "total_tokens": 2, "metadata": text}  # fmt: skip
        made = await api.master.post("/api/v1/usage/batch", json={"records": [record] * 50})
        sent += made.json()["data"]["submitted"]
        assert sent < 20_000
    heard = 0
    while (told := await hear(client)).get("action") != "missed":
        heard += 1
    # It may be told in several parts: what came while it was told of the first is in the next.
    missed = told["count"]
    while heard + missed < sent:
        told = await hear(client)
        heard, missed = (heard, missed + told["count"]) if "action" in told else (heard + 1, missed)
    assert heard + missed == sent
    assert api.sidecar.live.missed == missed


async def test_a_client_that_sends_too_much_is_sent_away(served: Served) -> None:
    client = await served.connect(MASTER)
    for _ in range(200):
        await client.send('{"action": "ping"}')
    code, reason = await closed(client)
    assert (code, reason.partition(":")[0]) == (1008, "TOO_MANY_REQUESTS")
    large = await served.connect(MASTER)
    await large.send("x" * 70_000)
    assert (await closed(large))[0] == 1009


async def test_it_ends_with_the_sidecar(api: Api, tmp_path: Path) -> None:
    async with serving(api.app, tmp_path / "s") as served:
        client = await served.listen(MASTER, "costs:*")
    assert (await closed(client))[0] == 1012


async def test_several_sidecars_over_one_database_feed_their_clients(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.url(await postgres.create())
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(tmp_path / "one", url))
        second = await stack.enter_async_context(running(tmp_path / "two", url))
        apps = [create_app(first.sidecar), create_app(second.sidecar)]
        clients = []
        for index, app in enumerate(apps):
            served = await stack.enter_async_context(serving(app, tmp_path / f"s{index}"))
            clients.append(await served.listen(MASTER, "usage:*", "alerts:*"))
        reported = await asyncio.gather(*(report(api, "default") for api in (first, second) for _ in range(10)))
        for client in clients:
            heard = [(await hear(client))["data"]["usage_id"] for _ in reported]
            assert sorted(heard) == sorted(reported)
        async with first.sidecar.works.begin(SYSTEM) as work:
            await BudgetService(work).set("organization", "default", 1, "total")
        await priced(first)
        last = await report(second, "default")
        await asyncio.gather(*(api.sidecar.notices.watch() for api in (first, second)))
        for client in clients:
            # What was used and what is noticed of it come in either order.
            told = [(await hear(client))["data"] for _ in range(5)]
            assert [data["threshold"] for data in told if "threshold" in data] == [0.5, 0.75, 0.9, 1.0]
            assert [data["usage_id"] for data in told if "usage_id" in data] == [last]
            assert (await say(client, action="ping"))["action"] == "pong"
