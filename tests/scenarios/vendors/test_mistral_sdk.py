"""Mistral's own SDK asks the fake: it must not tell it apart, and ask as the gateway does."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from mistralai.client.models import ChatCompletionRequest
from openai import OpenAI
from pydantic import BaseModel

from tests.scenarios.vendors.conftest import HELLO, PARAMETERS, SAID, TOOLS
from tests.scenarios.vendors.judging import events_of, said_again, unread
from tests.support.fake_vendors import KEY, FakeVendors
from tests.support.fake_vendors.media import ASKED
from tests.support.fake_vendors.said import CACHED, COMPLETION, PROMPT
from tests.support.fake_vendors.server import FAILS

MODEL = "mistral-model:1"
SOUND: Any = {"file_name": "a.wav", "content": b"hoot", "content_type": "audio/wav"}


class Place(BaseModel):
    """What a structured answer is."""

    city: str
    rank: int


@pytest.fixture
def mistral(vendors: FakeVendors) -> Iterator[Mistral]:
    """Mistral's SDK, for the fake."""
    with Mistral(api_key=KEY, server_url=f"{vendors.root}/mistral", timeout_ms=30_000) as client:
        yield client


def assert_all_is_read(vendors: FakeVendors, answer: BaseModel) -> None:
    """Nothing that the fake said is unknown to the SDK."""
    told = said_again(vendors).json()
    assert list(unread(told, answer.model_dump(mode="json", by_alias=True))) == []


def test_a_whole_answer(mistral: Mistral, vendors: FakeVendors) -> None:
    answer = mistral.chat.complete(model=MODEL, messages=HELLO)

    assert answer.choices[0].message is not None
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (SAID, "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (PROMPT, COMPLETION)
    assert answer.usage.additional_properties["prompt_tokens_details"] == {"cached_tokens": CACHED}
    assert_all_is_read(vendors, answer)


def test_thoughts(mistral: Mistral, vendors: FakeVendors) -> None:
    answer = mistral.chat.complete(model=MODEL, messages=HELLO, reasoning_effort="high")

    assert answer.choices[0].message is not None
    chunks: Any = answer.choices[0].message.content
    assert [chunk.type for chunk in chunks] == ["thinking", "text"]
    assert chunks[0].thinking[0].text == "Hm."
    assert_all_is_read(vendors, answer)


@pytest.mark.parametrize(
    "more", [{}, {"tools": TOOLS}, {"reasoning_effort": "high"}], ids=["text", "calls", "thoughts"]
)
def test_a_stream(mistral: Mistral, vendors: FakeVendors, more: dict[str, Any]) -> None:
    with mistral.chat.stream(model=MODEL, messages=HELLO, **more) as stream:
        chunks = [event.data for event in stream]

    read = [chunk.model_dump(mode="json", by_alias=True) for chunk in chunks]
    assert list(unread(events_of(said_again(vendors)), read)) == []
    choices = [chunk.choices[0] for chunk in chunks]
    texts = [choice.delta.content for choice in choices if isinstance(choice.delta.content, str)]
    calls: Any = [call for choice in choices for call in choice.delta.tool_calls or ()]
    told = [(call.index, call.function.name, call.function.arguments) for call in calls]
    ends = [choice.finish_reason for choice in choices if choice.finish_reason]
    if "tools" in more:
        assert (told, ends) == ([(0, "weather", '{"city":"Rome"}'), (1, "time", '{"city":"Rome"}')], ["tool_calls"])
    else:
        assert ("".join(texts), ends) == (SAID, ["stop"])
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == PROMPT + COMPLETION


def test_parallel_calls_and_their_answers(mistral: Mistral, vendors: FakeVendors) -> None:
    answer = mistral.chat.complete(model=MODEL, messages=HELLO, tools=TOOLS, tool_choice="any")
    message: Any = answer.choices[0].message

    assert answer.choices[0].finish_reason == "tool_calls"
    assert [(call.function.name, call.function.arguments) for call in message.tool_calls] == [
        ("weather", '{"city":"Rome"}'),
        ("time", '{"city":"Rome"}'),
    ]
    assert len({call.id for call in message.tool_calls}) == 2
    assert_all_is_read(vendors, answer)
    results: Any = [
        {"role": "tool", "tool_call_id": call.id, "content": place}
        for call, place in zip(message.tool_calls, "ab", strict=True)
    ]
    last = mistral.chat.complete(model=MODEL, messages=[*HELLO, message, *results], tools=TOOLS)
    assert last.choices[0].message is not None
    assert last.choices[0].message.content == "Tools said: a, b"


def test_a_structured_answer(mistral: Mistral, vendors: FakeVendors) -> None:
    answer = mistral.chat.parse(Place, model=MODEL, messages=HELLO)

    assert answer.choices is not None
    assert answer.choices[0].message is not None
    assert isinstance(answer.choices[0].message.parsed, Place)


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_a_refusal(mistral: Mistral, is_stream: bool) -> None:
    ask: Any = mistral.chat.stream if is_stream else mistral.chat.complete
    with pytest.raises(SDKError) as refused:
        ask(model=FAILS, messages=HELLO)

    assert refused.value.status_code == 429
    assert '"message":"Too much."' in refused.value.body


def test_a_key_that_is_none(vendors: FakeVendors) -> None:
    with Mistral(api_key="other", server_url=f"{vendors.root}/mistral") as client, pytest.raises(SDKError) as refused:
        client.chat.complete(model=MODEL, messages=HELLO)

    assert refused.value.status_code == 401


def test_embeddings(mistral: Mistral, vendors: FakeVendors) -> None:
    answer = mistral.embeddings.create(model=MODEL, inputs=["a", "abc"])

    assert [each.embedding for each in answer.data] == [[1.0], [3.0]]
    assert answer.usage.prompt_tokens == ASKED
    assert_all_is_read(vendors, answer)


def test_moderations(mistral: Mistral, vendors: FakeVendors) -> None:
    answer = mistral.classifiers.moderate(model=MODEL, inputs=["a fight", "a flower"])

    assert [each.categories and each.categories["violence_and_threats"] for each in answer.results] == [True, False]
    assert_all_is_read(vendors, answer)


def test_transcripts(mistral: Mistral) -> None:
    answer = mistral.audio.transcriptions.complete(
        model=MODEL, file=SOUND, language="en", timestamp_granularities=["segment"], context_bias=["owl", "hoot"]
    )

    assert (answer.text, answer.language, answer.usage.prompt_audio_seconds) == ("heard hoot", "en", 3)
    assert [(each.text, each.start, each.end) for each in answer.segments or ()] == [("heard", 0.0, 2.5)]


def test_speech(mistral: Mistral, vendors: FakeVendors) -> None:
    answer: Any = mistral.audio.speech.complete(model=MODEL, input="Hoot", voice_id="Kore", response_format="mp3")

    assert base64.b64decode(answer.audio_data).decode().strip() == "Hoot Kore"
    assert_all_is_read(vendors, answer)


def test_the_list_of_models(mistral: Mistral, vendors: FakeVendors) -> None:
    answer = mistral.models.list()

    listed: Any = answer.data
    assert [(model.type, model.id) for model in listed] == [("base", "mistral-model"), ("base", "mistral-other")]
    assert_all_is_read(vendors, answer)


CALL = {"id": "call00000", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
TURNS: list[Any] = [
    {"role": "system", "content": "Be brief."},
    *HELLO,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call00000", "content": "sunny"},
]
PICTURE: list[Any] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        ],
    }
]
CHOSEN: Any = {"type": "function", "function": {"name": "weather"}}
FORM: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": PARAMETERS, "strict": True}}
QUESTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "limits": (
        {"messages": HELLO, "max_tokens": 9, "stop": ["x"], "temperature": 0.5, "top_p": 0.5, "random_seed": 3},
        {"messages": HELLO, "max_completion_tokens": 9, "stop": ["x"], "temperature": 0.5, "top_p": 0.5, "seed": 3},
    ),
    "tools": ({"messages": TURNS, "tools": TOOLS, "tool_choice": CHOSEN, "parallel_tool_calls": False},) * 2,
    "form": ({"messages": HELLO, "response_format": FORM},) * 2,
    "picture": ({"messages": PICTURE, "reasoning_effort": "high"},) * 2,
}
"""What Mistral's SDK is asked, and OpenAI's for the same."""


@pytest.mark.parametrize("named", QUESTIONS)
def test_the_gateway_asks_as_the_sdk_does(mistral: Mistral, openai: OpenAI, vendors: FakeVendors, named: str) -> None:
    for_mistral, for_openai = QUESTIONS[named]
    mistral.chat.complete(model=MODEL, **for_mistral)
    theirs = vendors.asked[-1].body
    openai.chat.completions.create(model="mistral", **for_openai)
    ours = vendors.asked[-1].body

    # Read and written by the SDK, which writes some defaults too.
    read = ChatCompletionRequest.model_validate(ours).model_dump(mode="json", by_alias=True)
    assert read == theirs
    assert list(unread(ours, read)) == []


def test_the_gateway_asks_for_the_rest_as_the_sdk_does(mistral: Mistral, openai: OpenAI, vendors: FakeVendors) -> None:
    mistral.embeddings.create(model=MODEL, inputs=["a"], output_dimension=5, encoding_format="float")
    mistral.classifiers.moderate(model=MODEL, inputs=["a"])
    mistral.audio.transcriptions.complete(
        model=MODEL, file=SOUND, language="en", temperature=0.5, timestamp_granularities=["segment"]
    )
    mistral.audio.speech.complete(model=MODEL, input="Hoot", voice_id="Kore", response_format="mp3")
    openai.embeddings.create(model="mistral", input=["a"], dimensions=5, encoding_format="float")
    openai.moderations.create(model="mistral", input=["a"])
    sound = ("a.wav", b"hoot", "audio/wav")
    openai.audio.transcriptions.create(
        model="mistral", file=sound, language="en", temperature=0.5, response_format="verbose_json"
    )
    openai.audio.speech.create(model="mistral", input="Hoot", voice="Kore", response_format="mp3")
    theirs, ours = vendors.asked[-8:-4], vendors.asked[-4:]

    assert [each.path for each in ours] == [each.path for each in theirs]
    for their, our in zip(theirs, ours, strict=True):
        said = {name: value for name, value in their.body.items() if name not in ("stream", "diarize")}  # not wanted
        assert our.body == said
