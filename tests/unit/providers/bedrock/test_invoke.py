"""Embeddings, rerank and images by InvokeModel. Bodies and answers are those of the Bedrock and Nova user guides."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
import pytest

from gateway.kernel.errors import GatewayError
from gateway.providers.base import Call, Headed, Question, Unsupported, Upstream
from gateway.providers.bedrock import Bedrock

TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "us.cohere.embed-v4:0"
CANVAS = "amazon.nova-canvas-v1:0"
STABILITY = "stability.stable-image-core-v1:1"


def asked(endpoint: str, model: str, **chat: Any) -> Call:
    return Bedrock().request(Question({"model": "m", **chat}, Upstream(model), endpoint, now=5.0))


def answered(call: Call, told: Any, tokens: bytes | None = None) -> Any:
    assert isinstance(call.memo, Headed)
    headers = [(b"x-amzn-requestid", b"r")]
    if tokens is not None:
        headers.append((b"x-amzn-bedrock-input-token-count", tokens))
    return Bedrock().response(orjson.dumps(told), call.memo.heard(headers))


def test_titan_embeds_one_text() -> None:
    call = asked("embeddings", TITAN, input=["Grüß dich"], dimensions=256, encoding_format="base64", user="u")
    told = answered(call, {"embedding": [0.5, 1.0], "inputTextTokenCount": 3, "embeddingsByType": {"float": [0.5]}})

    assert call.path == "/model/amazon.titan-embed-text-v2%3A0/invoke"
    assert orjson.loads(call.body) == {"inputText": "Grüß dich", "dimensions": 256}
    assert call.dropped == ()
    assert base64.b64decode(told["data"][0]["embedding"]) == struct.pack("<2f", 0.5, 1.0)
    assert told["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.parametrize("model", [TITAN, "amazon.titan-embed-text-v1", "amazon.nova-2-multimodal-embeddings-v1:0"])
def test_several_texts_are_another_targets(model: str) -> None:
    with pytest.raises(Unsupported) as refused:
        asked("embeddings", model, input=["a", "b"])

    assert refused.value.field == "input"


def test_what_the_first_titan_has_not() -> None:
    call = asked("embeddings", "amazon.titan-embed-text-v1", input="a", dimensions=256)

    assert (call.dropped, orjson.loads(call.body)) == (("dimensions",), {"inputText": "a"})


def test_titan_of_images_too() -> None:
    call = asked("embeddings", "amazon.titan-embed-image-v1", input="a", dimensions=384)

    assert orjson.loads(call.body) == {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 384}}


@pytest.mark.parametrize(
    ("model", "dropped", "more"),
    [(COHERE, (), {"output_dimension": 512}), ("cohere.embed-english-v3", ("dimensions",), {})],
)
def test_cohere_embeds_a_list(model: str, dropped: tuple[str, ...], more: Any) -> None:
    call = asked("embeddings", model, input=["a", "b"], dimensions=512, input_type="search_query", truncate="NONE")

    assert call.dropped == dropped
    assert orjson.loads(call.body) == {
        "texts": ["a", "b"],
        "input_type": "search_query",
        "embedding_types": ["float"],
        "truncate": "NONE",
        **more,
    }


@pytest.mark.parametrize("told", [{"float": [[0.5], [1.0]]}, [[0.5], [1.0]]], ids=["by type", "floats"])
def test_what_cohere_tells_and_its_tokens_in_the_head(told: Any) -> None:
    call = asked("embeddings", COHERE, input=["a", "b"])
    answer = answered(call, {"id": "i", "embeddings": told, "texts": ["a", "b"]}, b"7")

    assert [(each["index"], each["embedding"]) for each in answer["data"]] == [(0, [0.5]), (1, [1.0])]
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    for unread in (None, b"many"):
        assert answered(call, {"embeddings": told}, unread)["usage"]["prompt_tokens"] == 0


def test_nova_embeds_a_text() -> None:
    model = "amazon.nova-2-multimodal-embeddings-v1:0"
    call = asked("embeddings", model, input="a", dimensions=1024, input_type="search_query")
    answer = answered(call, {"embeddings": [{"embeddingType": "TEXT", "embedding": [0.25]}]}, b"2")

    assert orjson.loads(call.body) == {
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": {
            "embeddingPurpose": "GENERIC_RETRIEVAL",
            "embeddingDimension": 1024,
            "text": {"truncationMode": "NONE", "value": "a"},
        },
    }
    assert (answer["data"][0]["embedding"], answer["usage"]["prompt_tokens"]) == ([0.25], 2)


@pytest.mark.parametrize(("model", "more"), [("cohere.rerank-v3-5:0", {"api_version": 2}), ("amazon.rerank-v1:0", {})])
def test_rerank(model: str, more: Any) -> None:
    documents = ["a", {"text": "b"}, {"title": "c"}]
    call = asked("rerank", model, query="q", documents=documents, top_n=2, return_documents=True)
    results = [{"index": 2, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
    answer = answered(call, {"results": results})

    assert orjson.loads(call.body) == {"query": "q", "documents": ["a", "b", "title: c"], "top_n": 2, **more}
    assert [each["document"] for each in answer["results"]] == [{"title": "c"}, {"text": "a"}]
    assert "usage" not in answer
    assert answer["id"].startswith("rerank-")
    plain = asked("rerank", model, query="q", documents=documents, max_tokens_per_doc=5)
    assert plain.dropped == ("max_tokens_per_doc",)
    assert answered(plain, {"results": results}, b"9")["usage"]["total_tokens"] == 9


def test_nova_canvas() -> None:
    own = {"bedrock": {"imageGenerationConfig": {"cfgScale": 7.5}}, "gemini": {}}
    call = asked(
        "images.generations",
        CANVAS,
        prompt="A robot",
        n=2,
        size="1280x720",
        quality="hd",
        response_format="b64_json",
        background="auto",
        seed=4,
        negative_prompt="rain",
        provider_options=own,
    )
    answer = answered(call, {"images": ["aQ==", "ag=="], "error": None})

    assert call.dropped == ("provider_options.gemini",)
    assert orjson.loads(call.body) == {
        "taskType": "TEXT_IMAGE",
        "textToImageParams": {"text": "A robot", "negativeText": "rain"},
        "imageGenerationConfig": {
            "numberOfImages": 2,
            "width": 1280,
            "height": 720,
            "quality": "premium",
            "seed": 4,
            "cfgScale": 7.5,
        },
    }
    assert answer == {"created": 5, "data": [{"b64_json": "aQ=="}, {"b64_json": "ag=="}]}


def test_stability() -> None:
    call = asked("images.generations", STABILITY, prompt="A robot", n=2, size="1024x1024", output_format="jpeg")
    answer = answered(call, {"seeds": [1], "finish_reasons": [None], "images": ["aQ=="]})
    refused = answered(call, {"seeds": [1], "finish_reasons": ["Filter reason: prompt"], "images": [""]})

    assert call.dropped == ("size", "n")
    assert orjson.loads(call.body) == {"prompt": "A robot", "output_format": "jpeg"}
    assert answer["data"] == [{"b64_json": "aQ=="}]
    assert refused["error"]["code"] == "content_policy_violation"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response_format", "url"),
        ("output_format", "webp"),
        ("quality", "low"),
        ("style", "vivid"),
        ("background", "transparent"),
        ("stream", True),
        ("partial_images", 2),
    ],
)
def test_what_no_image_of_amazon_can_be_is_named(name: str, value: Any) -> None:
    assert asked("images.generations", CANVAS, prompt="x", **{name: value}).dropped == (name,)


@pytest.mark.parametrize(
    ("endpoint", "model", "chat", "field"),
    [
        ("embeddings", "anthropic.claude-3", {"input": "a"}, "model"),
        ("rerank", TITAN, {"query": "q", "documents": ["a"]}, "model"),
        ("images.generations", TITAN, {"prompt": "a"}, "model"),
        ("embeddings", COHERE, {"input": [1, 2]}, "input"),
        ("rerank", "amazon.rerank-v1:0", {"query": "", "documents": ["a"]}, "query"),
        ("rerank", "amazon.rerank-v1:0", {"query": "q", "documents": [""]}, None),
        ("images.generations", CANVAS, {"prompt": 5}, "prompt"),
        ("images.generations", CANVAS, {"prompt": "a", "size": "big"}, "size"),
        ("images.generations", CANVAS, {"prompt": "a", "n": 0}, "n"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(endpoint: str, model: str, chat: Any, field: str | None) -> None:
    if field is None:
        assert orjson.loads(asked(endpoint, model, **chat).body)["documents"] == [""]
        return
    with pytest.raises(GatewayError) as refused:
        asked(endpoint, model, **chat)

    assert refused.value.field == field


@pytest.mark.parametrize("told", [{}, {"embeddings": 5}, {"images": []}, {"results": [{}]}, [], {"embedding": None}])
@pytest.mark.parametrize("endpoint", ["embeddings", "rerank", "images.generations"])
def test_no_answer_at_all(endpoint: str, told: Any) -> None:
    model = {"embeddings": COHERE, "rerank": "cohere.rerank-v3-5:0", "images.generations": CANVAS}[endpoint]
    chat = {"input": "a", "query": "q", "documents": ["a"], "prompt": "p", "return_documents": True}
    call = asked(endpoint, model, **chat)

    with pytest.raises(ValueError):
        answered(call, told)


def test_a_signature_is_of_the_calls_own_path() -> None:
    options = {"access_key_id": "A", "secret_access_key": "s", "region": "us-east-1"}
    upstream = Upstream(TITAN, "https://bedrock-runtime.us-east-1.amazonaws.com", options=options)
    call = Bedrock().request(Question({"input": "a"}, upstream, "embeddings", now=5.0))

    assert dict(call.headers)["authorization"].startswith("AWS4-HMAC-SHA256 Credential=A/19700101/us-east-1/bedrock/")
