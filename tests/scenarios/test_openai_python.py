"""The official OpenAI SDK for Python, synchronous."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.scenarios.conftest import Endpoint
from tests.scenarios.material import (
    ADA,
    ASK_PERSON,
    ASK_TOOLS,
    TOOLS,
    Person,
    assert_closed_soon,
    marker,
)
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_openai.endpoints import speech, vector

HELLO: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Grüß Gott 你好 👋"},
]
ANSWER = "2 messages; Grüß Gott 你好 👋"


@pytest.fixture
def client(endpoint: Endpoint) -> Iterator[OpenAI]:
    with OpenAI(base_url=endpoint.base_url, api_key=endpoint.key, max_retries=0, timeout=30) as made:
        yield made


def test_chat(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="fake-chat", messages=HELLO)
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_stream(client: OpenAI) -> None:
    with client.chat.completions.create(model="fake-chat", messages=HELLO, stream=True) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_stream_with_usage(client: OpenAI) -> None:
    plain = client.chat.completions.create(model="fake-chat", messages=HELLO)
    with client.chat.completions.create(
        model="fake-chat", messages=HELLO, stream=True, stream_options={"include_usage": True}
    ) as stream:
        *_, last = stream
    assert last.choices == []
    assert last.usage == plain.usage


DELIVERIES = ["gzip", "br", "crlf", "crlf-split", "split", "joined", "comments", "extra", "chunked", "close"]


@pytest.mark.parametrize("model", DELIVERIES)
def test_every_delivery_reads_the_same(client: OpenAI, model: str) -> None:
    plain = client.chat.completions.create(model=model, messages=HELLO)
    assert plain.choices[0].message.content == ANSWER
    with client.chat.completions.create(model=model, messages=HELLO, stream=True) as stream:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == ANSWER


def test_tools_and_their_results(client: OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": ASK_TOOLS}]
    first = client.chat.completions.create(model="fake-chat", messages=messages, tools=TOOLS)
    calls = first.choices[0].message.tool_calls or []
    assert first.choices[0].finish_reason == "tool_calls"
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls if call.type == "function"] == [
        ("get_weather", {"city": "Zürich", "days": 3}),
        ("get_time", {"zone": "Europe/Zurich"}),
    ]
    messages.append(first.choices[0].message.model_dump(exclude_none=True))  # type: ignore[arg-type]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"r{i}"} for i, call in enumerate(calls)]
    second = client.chat.completions.create(model="fake-chat", messages=messages, tools=TOOLS)
    assert second.choices[0].message.content == "Tools said: r0; r1"


def test_streamed_tools(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="fake-chat",
        messages=[{"role": "user", "content": ASK_TOOLS}],
        tools=TOOLS,
    ) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("get_weather", {"city": "Zürich", "days": 3}),
        ("get_time", {"zone": "Europe/Zurich"}),
    ]


def test_structured_output(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="fake-chat", messages=[{"role": "user", "content": ASK_PERSON}], response_format=Person
    )
    assert answer.choices[0].message.parsed == ADA


def test_streamed_structured_output(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="fake-chat", messages=[{"role": "user", "content": ASK_PERSON}], response_format=Person
    ) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == ADA


def test_logprobs_choices_reasoning_and_limits(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="fake-chat",
        messages=HELLO,
        n=3,
        logprobs=True,
        top_logprobs=2,
        reasoning_effort="high",
        max_completion_tokens=2,
        seed=7,
        extra_body={"x_unknown": {"deep": [1, 2.5, None]}},
    )
    assert [choice.message.content for choice in answer.choices] == [f"[{i}] 2 " for i in range(3)]
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    shown = answer.choices[0].logprobs
    assert shown is not None
    assert [len(token.top_logprobs) for token in shown.content or []] == [2, 2]
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 32
    assert answer.model_extra is not None
    assert answer.model_extra["x_echo"] == {"x_unknown": {"deep": [1, 2.5, None]}}


def test_vision_and_audio_parts(client: OpenAI, fake: FakeOpenAI) -> None:
    said = marker()
    picture = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 40).decode()
    sound = base64.b64encode(bytes(reversed(range(256))) * 40).decode()
    answer = client.chat.completions.create(
        model="fake-chat",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": said},
                    {"type": "image_url", "image_url": {"url": picture, "detail": "low"}},
                    {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}},
                ],
            }
        ],
    )
    assert answer.choices[0].message.content == f"1 messages, 1 images, 1 audio; {said}"
    parts = fake.recording.wait_request(said).json["messages"][0]["content"]
    assert parts[1]["image_url"] == {"url": picture, "detail": "low"}
    assert parts[2]["input_audio"]["data"] == sound


def test_refusal(client: OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "refuse this"}]
    answer = client.chat.completions.create(model="fake-chat", messages=messages)
    assert answer.choices[0].message.content is None
    assert answer.choices[0].message.refusal == "I can't do that: refuse this"
    with client.chat.completions.create(model="fake-chat", messages=messages, stream=True) as stream:
        refused = "".join(chunk.choices[0].delta.refusal or "" for chunk in stream)
    assert refused == "I can't do that: refuse this"


def test_embeddings(client: OpenAI) -> None:
    # The SDK asks for base64 where the caller leaves the format open.
    answer = client.embeddings.create(model="fake-embed", input=["eins", "zwei"], dimensions=64)
    assert [each.embedding for each in answer.data] == [vector("eins", 64), vector("zwei", 64)]
    floats = client.embeddings.create(model="fake-embed", input="eins", encoding_format="float")
    assert floats.data[0].embedding == vector("eins", 8)


def test_legacy_completions(client: OpenAI) -> None:
    assert client.completions.create(model="fake-chat", prompt="Once").choices[0].text == "Once and so on"
    with client.completions.create(model="fake-chat", prompt="Once", stream=True) as stream:
        assert "".join(chunk.choices[0].text for chunk in stream) == "Once and so on"


def test_models(client: OpenAI) -> None:
    assert {"fake-chat", "fake-embed"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("fake-chat").id == "fake-chat"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_moderations(client: OpenAI) -> None:
    assert client.moderations.create(model="fake-moderation", input="an attack").results[0].flagged


def test_speech_and_transcription(client: OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="fake-speech", voice="alloy", input="Hello"
    ) as streamed:
        sound = b"".join(streamed.iter_bytes())
    assert sound == speech({"voice": "alloy", "input": "Hello"})
    heard = client.audio.transcriptions.create(model="fake-transcribe", file=("a.mp3", sound))
    assert heard.text == f"{len(sound)} bytes, sha256 {hashlib.sha256(sound).hexdigest()}"


def test_images(client: OpenAI) -> None:
    made = client.images.generate(model="fake-image", prompt="a cat", n=2)
    assert len({image.b64_json for image in made.data or []}) == 2
    edited = client.images.edit(model="fake-image", image=("a.png", bytes(range(256))), prompt="a cat")
    expected = hashlib.sha256(b"0a cat" + bytes(range(256))).digest()
    assert [base64.b64decode(image.b64_json or "") for image in edited.data or []] == [expected]


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("error-400", openai.BadRequestError),
        ("error-401", openai.AuthenticationError),
        ("error-403", openai.PermissionDeniedError),
        ("error-404", openai.NotFoundError),
        ("error-409", openai.ConflictError),
        ("error-422", openai.UnprocessableEntityError),
        ("error-429", openai.RateLimitError),
        ("error-500", openai.InternalServerError),
        ("error-503", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_upstream_errors(client: OpenAI, model: str, error: type[openai.APIStatusError], stream: bool) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(model=model, messages=HELLO, stream=stream)
    assert caught.value.code == model.replace("error-", "fake_")
    assert caught.value.param == "model"
    assert caught.value.response.headers["retry-after"] == "7"


def test_wrong_key(endpoint: Endpoint) -> None:
    with (
        OpenAI(base_url=endpoint.base_url, api_key="gw_live_wrong_key_000", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        stranger.chat.completions.create(model="fake-chat", messages=HELLO)
    assert refused.value.code == "invalid_api_key"


def test_leaving_in_the_middle_of_a_stream(client: OpenAI, fake: FakeOpenAI) -> None:
    said = marker()
    stream = client.chat.completions.create(model="endless", messages=[{"role": "user", "content": said}], stream=True)
    for _ in range(5):
        next(stream)
    stream.close()
    assert_closed_soon(fake, said, time.monotonic())


def test_leaving_before_the_first_token(endpoint: Endpoint, fake: FakeOpenAI) -> None:
    said = marker()
    with (
        OpenAI(base_url=endpoint.base_url, api_key=endpoint.key, max_retries=0, timeout=3.0) as hasty,
        pytest.raises(openai.APITimeoutError),
    ):
        hasty.chat.completions.create(model="never", messages=[{"role": "user", "content": said}], stream=True)
    assert_closed_soon(fake, said, time.monotonic())
