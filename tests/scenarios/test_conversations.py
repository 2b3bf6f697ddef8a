"""Conversations through the official SDK: their own operations, and Responses that go on from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.scenarios.material import marker
from tests.scenarios.test_responses import OTHER_KEY, client_of, ended, last_sent
from tests.scenarios.test_responses import client as client
from tests.scenarios.test_responses import fake as fake
from tests.scenarios.test_responses import gateway as gateway
from tests.support.fake_openai import FakeOpenAI
from tests.support.gateway import RunningGateway


@pytest.fixture
def other(gateway: RunningGateway) -> Iterator[OpenAI]:
    """The client of another organisation."""
    with client_of(gateway, OTHER_KEY) as made:
        yield made


def texts(client: OpenAI, conversation_id: str) -> list[str]:
    """What a conversation says, in order."""
    items: Any = client.conversations.items.list(conversation_id, order="asc", limit=3)
    return [item.to_dict()["content"][0]["text"] for item in items]


def said(text: str) -> Any:
    """A user's message."""
    return {"type": "message", "role": "user", "content": text}


def test_a_conversation_is_made_read_changed_and_removed(client: OpenAI) -> None:
    made = client.conversations.create(metadata={"topic": "a"}, items=[said("Hello")])
    assert made.id.startswith("conv_")
    assert client.conversations.retrieve(made.id) == made
    assert client.conversations.update(made.id, metadata={"topic": "b"}).metadata == {"topic": "b"}
    assert client.conversations.retrieve(made.id).metadata == {"topic": "b"}
    added = client.conversations.items.create(made.id, items=[said(f"line {i}") for i in range(5)])
    assert len(added.data) == 5
    assert texts(client, made.id) == ["Hello", *(f"line {i}" for i in range(5))]
    item_id = str(added.data[2].to_dict()["id"])
    assert client.conversations.items.retrieve(item_id, conversation_id=made.id) == added.data[2]
    client.conversations.items.delete(item_id, conversation_id=made.id)
    assert "line 2" not in texts(client, made.id)
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(item_id, conversation_id=made.id)
    assert client.conversations.delete(made.id).deleted
    for gone in (client.conversations.retrieve, client.conversations.delete, client.conversations.items.list):
        with pytest.raises(openai.NotFoundError):
            gone(made.id)


def test_responses_go_on_from_it_and_add_to_it(client: OpenAI, fake: FakeOpenAI) -> None:
    mark = marker()
    conversation = client.conversations.create(items=[said(mark)])
    first = client.responses.create(model="fake-chat", input="one", conversation=conversation.id)
    assert first.conversation is not None
    assert first.conversation.id == conversation.id
    with client.responses.stream(model="fake-chat", input="two", conversation={"id": conversation.id}) as stream:
        second = stream.get_final_response()
    unstored = client.responses.create(model="fake-chat", input="three", conversation=conversation.id, store=False)
    background = client.responses.create(model="fake-chat", input="four", conversation=conversation.id, background=True)
    fourth = ended(client, background.id)
    expected = [mark, "one", first.output_text, "two", second.output_text, "three", unstored.output_text]
    assert [message["content"] for message in last_sent(fake, mark)["messages"]] == [*expected, "four"]
    assert texts(client, conversation.id) == [*expected, "four", fourth.output_text]


def test_one_that_is_gone_is_not_gone_on_from(client: OpenAI) -> None:
    conversation = client.conversations.create()
    client.conversations.delete(conversation.id)
    with pytest.raises(openai.NotFoundError) as raised:
        client.responses.create(model="fake-chat", input="x", conversation=conversation.id)
    assert raised.value.param == "conversation"


def test_a_response_that_failed_adds_nothing(client: OpenAI) -> None:
    conversation = client.conversations.create(items=[said("x")])
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="error-500", input="y", conversation=conversation.id)
    assert texts(client, conversation.id) == ["x"]


def test_another_organisation_finds_nothing(client: OpenAI, other: OpenAI) -> None:
    conversation = client.conversations.create(items=[said("secret")])
    (item,) = client.conversations.items.list(conversation.id)
    item_id = str(item.to_dict()["id"])
    attempts: list[Any] = [
        lambda: other.conversations.retrieve(conversation.id),
        lambda: other.conversations.update(conversation.id, metadata={}),
        lambda: other.conversations.delete(conversation.id),
        lambda: other.conversations.items.list(conversation.id),
        lambda: other.conversations.items.create(conversation.id, items=[said("x")]),
        lambda: other.conversations.items.retrieve(item_id, conversation_id=conversation.id),
        lambda: other.conversations.items.delete(item_id, conversation_id=conversation.id),
        lambda: other.responses.create(model="fake-chat", input="x", conversation=conversation.id),
    ]
    for attempt in attempts:
        with pytest.raises(openai.NotFoundError):
            attempt()
    assert texts(client, conversation.id) == ["secret"]


@pytest.mark.parametrize(
    ("path", "content", "param"),
    [
        ("", b"{", None),
        ("", b"[]", None),
        ("", b'{"metadata": {"a": 1}}', "metadata.a"),
        ("", b'{"items": "x"}', "items"),
        ("", b'{"items": [1]}', "items[0]"),
        ("", b'{"items": [{"type": ["message"]}]}', "items[0].type"),
        ("", b'{"items": [{"type": "item_reference", "id": "x"}]}', "items[0].type"),
        ("/one", b"{}", "metadata"),
        ("/one/items", b'{"items": []}', "items"),
        ("/one/items", b"{}", "items"),
    ],
)
def test_bad_requests_name_the_field(
    gateway: RunningGateway, client: OpenAI, path: str, content: bytes, param: str | None
) -> None:
    conversation = client.conversations.create()
    url = f"{gateway.base_url}/conversations{path.replace('one', conversation.id)}"
    answer = httpx.post(url, content=content, headers={"authorization": f"Bearer {gateway.key}"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
