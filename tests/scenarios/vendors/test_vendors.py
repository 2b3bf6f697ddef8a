"""OpenAI's SDK against every vendor, through the gateway; the vendors' own SDKs show that the fakes are like them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import botocore.session
import httpx
import pytest
from botocore.config import Config
from google import genai
from google.genai import types
from openai import APIStatusError, OpenAI

from tests.scenarios.vendors.conftest import GATEWAY_KEY, HELLO, SAID, TOOLS, VENDORS
from tests.support.fake_vendors import ACCESS_KEY, KEY, SECRET_KEY, FakeVendors
from tests.support.fake_vendors.said import CACHED, COMPLETION, PROMPT
from tests.support.gateway import RunningGateway


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_whole_answer(openai: OpenAI, vendor: str) -> None:
    answer = openai.chat.completions.create(model=vendor, messages=HELLO)

    assert answer.choices[0].message.content == SAID
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    usage = (
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
        answer.usage.prompt_tokens_details.cached_tokens,
    )
    assert usage == (PROMPT, COMPLETION, CACHED)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_stream(openai: OpenAI, vendor: str) -> None:
    with openai.chat.completions.create(
        model=vendor, messages=HELLO, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)

    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == SAID
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (PROMPT, COMPLETION)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_parallel_calls_and_their_answers(openai: OpenAI, vendor: str, is_stream: bool) -> None:
    choice: Any
    if is_stream:
        with openai.chat.completions.stream(model=vendor, messages=HELLO, tools=TOOLS) as stream:
            choice = stream.get_final_completion().choices[0]
    else:
        choice = openai.chat.completions.create(model=vendor, messages=HELLO, tools=TOOLS).choices[0]

    calls = choice.message.tool_calls or []
    assert choice.finish_reason == "tool_calls"
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("weather", '{"city":"Rome"}'),
        ("time", '{"city":"Rome"}'),
    ]
    assert len({call.id for call in calls}) == 2
    turn: Any = choice.message.model_dump(exclude_none=True, exclude={"parsed"})
    for call in turn["tool_calls"]:
        call["function"].pop("parsed_arguments", None)
    results: Any = [
        {"role": "tool", "tool_call_id": call.id, "content": place} for call, place in zip(calls, "ab", strict=True)
    ]
    last = openai.chat.completions.create(model=vendor, messages=[*HELLO, turn, *results], tools=TOOLS)
    content = last.choices[0].message.content or ""
    assert content.startswith("Tools said: ")
    assert content.index("a", 12) < content.index("b", 12)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_a_refusal(openai: OpenAI, vendor: str, is_stream: bool) -> None:
    with pytest.raises(APIStatusError) as refused:
        openai.chat.completions.create(model=f"{vendor}-fails", messages=HELLO, stream=is_stream)

    assert refused.value.status_code == 429
    assert refused.value.body["message"] == "Too much."  # type: ignore[index]


@pytest.mark.parametrize("vendor", ["gemini", "bedrock"])
def test_thoughts(openai: OpenAI, vendor: str) -> None:
    message: Any = openai.chat.completions.create(model=vendor, messages=HELLO).choices[0].message
    with openai.chat.completions.create(model=vendor, messages=HELLO, stream=True) as stream:
        deltas: list[Any] = [choice.delta for chunk in stream for choice in chunk.choices]

    assert message.reasoning_content == "Hm."
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Hm."


def test_signatures_of_gemini_go_back(openai: OpenAI, vendors: FakeVendors) -> None:
    choice = openai.chat.completions.create(model="gemini", messages=HELLO, tools=TOOLS).choices[0]
    turn: Any = choice.message.model_dump(exclude_none=True)
    results: Any = [{"role": "tool", "tool_call_id": call["id"], "content": "x"} for call in turn["tool_calls"]]
    openai.chat.completions.create(model="gemini", messages=[*HELLO, turn, *results], tools=TOOLS)

    parts = vendors.asked[-1].body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == ["c2lnbmVk", None]


@pytest.mark.parametrize("vendor", ["azure", "entra"])
def test_azure_keeps_what_its_filters_say(gateway: RunningGateway, vendors: FakeVendors, vendor: str) -> None:
    headers = {"authorization": f"Bearer {GATEWAY_KEY}"}
    body = {"model": vendor, "messages": HELLO}
    with httpx.Client(base_url=gateway.base_url, headers=headers, timeout=30) as client:
        whole = client.post("/chat/completions", json=body).json()
        stream = client.post("/chat/completions", json={**body, "stream": True}).text

    assert whole["choices"][0]["content_filter_results"]["hate"]["severity"] == "safe"
    assert '"prompt_filter_results"' in stream.partition("\n\n")[0]
    asked = vendors.asked[-1]
    assert asked.path == f"/azure/deployments/{vendor}-model:1/chat/completions"
    assert asked.query == "api-version=2024-10-21"
    assert ("api-key" in asked.headers) != ("authorization" in asked.headers)


@pytest.mark.parametrize("vendor", ["azure", "gemini", "cohere"])
def test_messages_of_anthropics_clients(gateway: RunningGateway, vendor: str) -> None:
    headers = {"x-api-key": GATEWAY_KEY, "anthropic-version": "2023-06-01"}
    body = {"model": vendor, "max_tokens": 50, "messages": HELLO}
    with httpx.Client(base_url=gateway.base_url, headers=headers, timeout=30) as client:
        whole = client.post("/messages", json=body).json()
        stream = client.post("/messages", json={**body, "stream": True}).text

    assert [block["text"] for block in whole["content"] if block["type"] == "text"] == [SAID]
    assert whole["usage"]["output_tokens"] == COMPLETION
    assert stream.index("event: message_start") < stream.index("event: message_stop")
    assert "error" not in stream


Answer = Callable[..., httpx.Response]


@pytest.fixture
def ask(gateway: RunningGateway) -> Answer:
    """One chat by hand."""

    def call(model: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {GATEWAY_KEY}"}
        body = {"model": model, "messages": HELLO, **more}
        return httpx.post(f"{gateway.base_url}/chat/completions", json=body, headers=headers, timeout=30)

    return call


@pytest.mark.parametrize(
    ("vendor", "parameter"),
    [("gemini", "logit_bias"), ("bedrock", "seed"), ("cohere", "n"), ("mistral", "logit_bias"), ("groq", "n")],
)
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_what_a_vendor_does_not_take_is_refused_by_name(
    ask: Answer, vendors: FakeVendors, vendor: str, parameter: str, is_stream: bool
) -> None:
    before = len(vendors.asked)
    refused = ask(vendor, stream=is_stream, **{parameter: {"1": 1} if parameter == "logit_bias" else 2})

    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == parameter
    assert len(vendors.asked) == before


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_what_may_be_dropped_is_told(ask: Answer, vendors: FakeVendors, is_stream: bool) -> None:
    answer = ask("lenient", n=2, logprobs=False, seed=1, stream=is_stream)

    assert answer.status_code == 200
    assert answer.headers["x-gateway-dropped"] == "n"
    assert vendors.asked[-1].body.keys() & {"n", "logprobs", "seed"} == {"seed"}


def test_a_parameter_goes_by_the_vendors_name(ask: Answer, vendors: FakeVendors) -> None:
    assert ask("deepseek", max_completion_tokens=5).status_code == 200
    assert vendors.asked[-1].body["max_tokens"] == 5
    assert "max_completion_tokens" not in vendors.asked[-1].body


def test_embeddings_of_gemini(openai: OpenAI) -> None:
    answer = openai.embeddings.create(model="gemini", input=["a", "bcd"])

    assert [item.embedding for item in answer.data] == [[1.0], [3.0]]


def test_an_endpoint_that_a_vendor_lacks(openai: OpenAI) -> None:
    with pytest.raises(APIStatusError) as refused:
        openai.embeddings.create(model="groq", input="a")

    assert refused.value.status_code in (400, 404)


def test_googles_own_sdk_can_not_tell_the_fake_apart(vendors: FakeVendors) -> None:
    options = types.HttpOptions(base_url=f"{vendors.root}/", api_version="gemini")
    with genai.Client(api_key=KEY, http_options=options) as client:
        whole = client.models.generate_content(model="gemini-model", contents="Hi")
        pieces = list(client.models.generate_content_stream(model="gemini-model", contents="Hi"))

    assert whole.text == "You said: Hi"
    assert "".join(piece.text or "" for piece in pieces) == "You said: Hi"
    assert whole.usage_metadata is not None
    assert whole.usage_metadata.total_token_count == PROMPT + COMPLETION


def test_amazons_own_sdk_can_not_tell_the_fake_apart(vendors: FakeVendors) -> None:
    client = botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=f"{vendors.root}/bedrock",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=30),
    )
    asked = {"modelId": "amazon.nova-lite-v1:0", "messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    whole = client.converse(**asked)
    events = list(client.converse_stream(**asked)["stream"])
    client.close()

    assert whole["output"]["message"]["content"][-1] == {"text": "You said: Hi"}
    texts = [event["contentBlockDelta"]["delta"].get("text", "") for event in events if "contentBlockDelta" in event]
    assert "".join(texts) == "You said: Hi"
    assert events[-1]["metadata"]["usage"]["totalTokens"] == PROMPT + COMPLETION


def test_their_own_sdks_read_the_lists_of_models(vendors: FakeVendors) -> None:
    options = types.HttpOptions(base_url=f"{vendors.root}/", api_version="gemini")
    with genai.Client(api_key=KEY, http_options=options) as client:
        named = {model.name: model.input_token_limit for model in client.models.list()}
    amazon = botocore.session.Session().create_client(
        "bedrock",
        region_name="us-east-1",
        endpoint_url=f"{vendors.root}/bedrock",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=30),
    )
    summaries = amazon.list_foundation_models()["modelSummaries"]
    amazon.close()

    assert named == {"models/gemini-model": 1_048_576, "models/gemini-other": 32_768, "models/fails": 32_768}
    assert [each["modelId"] for each in summaries] == ["maker.bedrock-model-v1:0", "bedrock-model"]
