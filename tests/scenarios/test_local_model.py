"""The engine of local models, as a process with the real model: what it answers."""

from __future__ import annotations

import base64
import importlib
import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from gateway.dataplane.streaming import EventStream
from gateway.dataplane.vendors import LOCAL
from gateway.local.catalog import locate
from tests.support.local_engine import MODEL, RunningEngine

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def direct() -> Iterator[Any]:
    """The model run plainly, by llama-cpp-python's own high-level class."""
    llama_cpp = importlib.import_module("llama_cpp")
    model = llama_cpp.Llama(str(locate(MODEL)), n_ctx=1024, n_threads=1, verbose=False)
    yield model
    model.close()
    # The package leaves its two handles of /dev/null open.
    quiet = importlib.import_module("llama_cpp._utils")
    quiet.outnull_file.close()
    quiet.errnull_file.close()


CONVERSATIONS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "Explain gravity in one sentence."}],
    [{"role": "system", "content": "You answer in French."}, {"role": "user", "content": "Hello, who are you?"}],
    [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Nice to meet you, Ada."},
        {"role": "user", "content": "What is my name?"},
    ],
]


@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_the_answer_is_the_models_own(engine: RunningEngine, direct: Any, messages: list[dict[str, Any]]) -> None:
    body = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 40}
    answer = engine.http.post("/v1/chat/completions", json=body).json()
    plain = direct.create_chat_completion(messages, temperature=0, max_tokens=40, repeat_penalty=1.0)
    assert answer["choices"][0]["message"]["content"] == plain["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == plain["choices"][0]["finish_reason"]
    assert answer["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]


def test_the_chat_template_is_the_models_own(engine: RunningEngine, direct: Any) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    prompt = (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    counted = engine.http.post("/tokenize", json={"model": MODEL, "messages": messages}).json()
    assert counted["tokens"] == direct.tokenize(prompt.encode(), add_bos=False, special=True)
    assert counted["count"] == len(counted["tokens"])
    assert engine.chat("Hi", max_tokens=1).json()["usage"]["prompt_tokens"] == counted["count"]


def test_a_stream_is_the_same_answer_in_openais_chunks(engine: RunningEngine) -> None:
    asked: dict[str, Any] = {"messages": CONVERSATIONS[0], "temperature": 0, "max_tokens": 20}
    whole = engine.http.post("/v1/chat/completions", json={"model": MODEL, **asked}).json()
    events = engine.events(**asked, stream_options={"include_usage": True})
    assert events.pop() == "[DONE]"
    usage = events.pop()
    assert usage["choices"] == []
    assert {k: usage["usage"][k] for k in ("prompt_tokens", "completion_tokens", "total_tokens")} == {
        k: whole["usage"][k] for k in ("prompt_tokens", "completion_tokens", "total_tokens")
    }
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({(event["id"], event["created"], event["model"]) for event in events}) == 1
    assert all(event["usage"] is None for event in events)
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(delta.get("content") or "" for delta in deltas) == whole["choices"][0]["message"]["content"]
    assert [event["choices"][0]["finish_reason"] for event in events if event["choices"][0]["finish_reason"]] == [
        whole["choices"][0]["finish_reason"]
    ]
    assert deltas[-1] == {}


def test_usage_is_not_streamed_unasked(engine: RunningEngine) -> None:
    events = engine.events(messages=CONVERSATIONS[0], max_tokens=2)
    assert events.pop() == "[DONE]"
    assert all("usage" not in event and event["choices"] for event in events)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Count from one to twenty."}], "n": 2}),
        ("/v1/completions", {"prompt": "One, two, three,"}),
    ],
)
def test_the_data_plane_is_told_the_usage_with_each_event(
    engine: RunningEngine, path: str, asked: dict[str, Any]
) -> None:
    body = {"model": MODEL, "stream": True, "max_tokens": 9, "temperature": 0, **asked}
    stream = EventStream(True, LOCAL, "")
    prompts, completions, out = set(), [], b""
    with engine.http.stream("POST", path, json=body, headers={"x-gateway-usage": "each"}) as response:
        for piece in response.iter_bytes():
            out += stream.feed(piece)
            if stream.tokens is not None:
                prompts.add(stream.tokens.prompt)
                completions.append(stream.tokens.completion)
                assert stream.unread() is None
    assert len(prompts) == 1
    assert completions == sorted(completions)
    assert completions[-1] == 9 * asked.get("n", 1)
    assert out.endswith(b"data: [DONE]\n\n")
    assert b"usage" not in out


def test_usage_counts_tokens(engine: RunningEngine) -> None:
    # The likeliest tokens: drawn at random, an answer is now and then shorter.
    answer = engine.chat("Count from one to twenty.", max_tokens=9, temperature=0).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 9
    assert answer["usage"]["total_tokens"] == 9 + answer["usage"]["prompt_tokens"]


def test_a_seed_repeats_an_answer_whatever_was_reused(engine: RunningEngine) -> None:
    long = "Read this. " + "The quick brown fox jumps over the lazy dog. " * 30
    asked = {"seed": 7, "temperature": 1.0, "max_tokens": 20, "logprobs": True}
    first = engine.chat(long, **asked).json()
    again = engine.chat(long, **asked).json()
    assert again["choices"] == first["choices"]
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= 128


def test_several_choices_differ_and_are_counted(engine: RunningEngine) -> None:
    answer = engine.chat("Write a poem.", n=3, seed=1, temperature=1.0, max_tokens=8).json()
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len(set(texts)) > 1
    assert answer["usage"]["completion_tokens"] == 24
    streamed = engine.events(
        messages=[{"role": "user", "content": "Write a poem."}], n=3, seed=1, temperature=1.0, max_tokens=8
    )
    joined = ["", "", ""]
    for event in streamed[:-1]:
        choice = event["choices"][0]
        joined[choice["index"]] += choice["delta"].get("content") or ""
    assert joined == texts


def test_generation_ends_before_a_stop_string(engine: RunningEngine) -> None:
    whole = engine.chat(temperature=0, max_tokens=30).json()["choices"][0]["message"]["content"]
    stop = whole[4:9]
    answer = engine.chat(temperature=0, max_tokens=30, stop=["never-said", stop]).json()["choices"][0]
    assert answer["message"]["content"] == whole[: whole.index(stop)]
    assert answer["finish_reason"] == "stop"


def test_logprobs_are_probabilities_of_the_text(engine: RunningEngine) -> None:
    choice = engine.chat(temperature=0, max_tokens=6, logprobs=True, top_logprobs=3).json()["choices"][0]
    entries = choice["logprobs"]["content"]
    assert bytes(byte for entry in entries for byte in entry["bytes"]).decode() == choice["message"]["content"]
    for entry in entries:
        tops = [top["logprob"] for top in entry["top_logprobs"]]
        assert tops == sorted(tops, reverse=True)
        assert len(tops) == 3
        # Greedy sampling takes the likeliest.
        assert entry["logprob"] == tops[0]
        assert entry["token"] == entry["top_logprobs"][0]["token"]
        assert sum(math.exp(top) for top in tops) <= 1.0001


def test_logit_bias_bans_and_forces(engine: RunningEngine) -> None:
    token = engine.http.post("/tokenize", json={"model": MODEL, "content": " cat"}).json()["tokens"][0]
    forced = engine.chat(max_tokens=3, logit_bias={str(token): 100}).json()["choices"][0]["message"]["content"]
    assert forced == " cat cat cat"
    first = engine.chat(temperature=0, max_tokens=1).json()["choices"][0]["message"]["content"]
    banned = engine.http.post("/tokenize", json={"model": MODEL, "content": first}).json()["tokens"][0]
    other = engine.chat(temperature=0, max_tokens=1, logit_bias={str(banned): -100}).json()
    assert other["choices"][0]["message"]["content"] != first


@pytest.mark.parametrize("seed", range(3))
def test_a_schema_holds(engine: RunningEngine, seed: int) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    answer = engine.chat("Invent a person.", response_format=shape, seed=seed, temperature=1.5, max_tokens=200).json()
    assert answer["choices"][0]["finish_reason"] == "stop"
    jsonschema.validate(json.loads(answer["choices"][0]["message"]["content"]), PERSON)


def test_json_mode_gives_an_object(engine: RunningEngine) -> None:
    asked = {"response_format": {"type": "json_object"}, "temperature": 0, "max_tokens": 300}
    answer = engine.chat('Answer as JSON: {"answer": "yes"}', **asked).json()["choices"][0]
    assert answer["finish_reason"] == "stop"
    assert isinstance(json.loads(answer["message"]["content"]), dict)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_demanded_tool_call_is_well_formed(engine: RunningEngine, choice: Any) -> None:
    tools = [WEATHER, TIME] if choice != "required" else [WEATHER]
    asked = {"tools": tools, "tool_choice": choice, "temperature": 1.0, "seed": 3, "max_tokens": 200}
    whole = engine.chat("What is the weather in Paris?", **asked).json()["choices"][0]
    assert whole["finish_reason"] == "tool_calls"
    assert whole["message"]["content"] is None
    calls = whole["message"]["tool_calls"]
    assert all(call["id"].startswith("call_") and call["type"] == "function" for call in calls)
    for call in calls:
        assert call["function"]["name"] == "get_weather"
        jsonschema.validate(json.loads(call["function"]["arguments"]), WEATHER["function"]["parameters"])  # type: ignore[index]
    events = engine.events(messages=[{"role": "user", "content": "What is the weather in Paris?"}], **asked)
    assert streamed_calls(events) == [(call["function"]["name"], call["function"]["arguments"]) for call in calls]
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"


def streamed_calls(events: list[Any]) -> list[tuple[str, str]]:
    """The tool calls put together from a stream, as clients do."""
    calls: list[tuple[str, str]] = []
    for event in events[:-1]:
        for delta in event["choices"][0]["delta"].get("tool_calls", []):
            if "id" in delta:
                assert (delta["index"], delta["type"]) == (len(calls), "function")
                calls.append((delta["function"]["name"], ""))
            name, arguments = calls[delta["index"]]
            calls[delta["index"]] = (name, arguments + delta["function"]["arguments"])
    return calls


def asked_before(city: str, number: int) -> list[dict[str, Any]]:
    """A round of a conversation in which the tool was called."""
    arguments = json.dumps({"city": city, "unit": "C"})
    call = {"id": f"c{number}", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    return [
        {"role": "user", "content": f"Weather in {city}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ]


def test_the_model_may_open_a_call_by_itself(engine: RunningEngine) -> None:
    before = [message for number, city in enumerate(["Rome", "Oslo", "Lima"]) for message in asked_before(city, number)]
    messages = [*before, {"role": "user", "content": "Weather in Paris?"}]
    body = {"messages": messages, "tools": [WEATHER], "temperature": 0, "max_tokens": 100, "parallel_tool_calls": False}
    answer = engine.http.post("/v1/chat/completions", json={"model": MODEL, **body}).json()
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["city"] == "Paris"
    events = engine.events(**body)
    assert streamed_calls(events) == [("get_weather", call["function"]["arguments"])]
    assert not any("<tool_call>" in (event["choices"][0]["delta"].get("content") or "") for event in events[:-1])


def test_tools_may_be_switched_off(engine: RunningEngine) -> None:
    asked = {"temperature": 0, "max_tokens": 10}
    without = engine.chat("Weather in Paris?", **asked).json()["choices"]
    assert engine.chat("Weather in Paris?", tools=[WEATHER], tool_choice="none", **asked).json()["choices"] == without


def test_a_tools_result_can_be_answered(engine: RunningEngine) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "12:30"},
    ]
    answer = engine.http.post(
        "/v1/chat/completions", json={"model": MODEL, "messages": messages, "tools": [TIME], "max_tokens": 20}
    )
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"]


def test_completions(engine: RunningEngine, direct: Any) -> None:
    prompts = ["The capital of France is", "One, two,"]
    body = {"model": MODEL, "prompt": prompts, "temperature": 0, "max_tokens": 6}
    answer = engine.http.post("/v1/completions", json=body).json()
    for choice, prompt in zip(answer["choices"], prompts, strict=True):
        plain = direct(prompt, temperature=0, max_tokens=6, repeat_penalty=1.0)
        assert choice["text"] == plain["choices"][0]["text"]
    assert answer["usage"]["completion_tokens"] == 12
    events = engine.events("/v1/completions", prompt="The capital of France is", temperature=0, max_tokens=6)
    assert "".join(event["choices"][0]["text"] for event in events[:-1]) == answer["choices"][0]["text"]
    tokens = engine.http.post("/tokenize", json={"model": MODEL, "content": "One, two,"}).json()["tokens"]
    echoed = engine.http.post("/v1/completions", json={**body, "prompt": tokens, "echo": True}).json()
    assert echoed["choices"][0]["text"] == "One, two," + answer["choices"][1]["text"]


def test_embeddings(engine: RunningEngine) -> None:
    body = {"model": MODEL, "input": ["a cat", "a kitten", "the theory of quantum gravity " * 40]}
    answer = engine.http.post("/v1/embeddings", json=body).json()
    cat, kitten, gravity = (entry["embedding"] for entry in answer["data"])
    assert len(cat) == 576
    assert math.isclose(sum(x * x for x in cat), 1, rel_tol=1e-4)
    assert dot(cat, kitten) > dot(cat, gravity)
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 128
    packed = engine.http.post("/v1/embeddings", json={**body, "input": "a cat", "encoding_format": "base64"}).json()
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(cat, abs=1e-6)


def dot(left: list[float], right: list[float]) -> float:
    return sum(x * y for x, y in zip(left, right, strict=True))


@pytest.mark.parametrize(
    ("path", "body", "status", "param", "code"),
    [
        ("chat/completions", {"messages": []}, 400, "messages", "invalid_value"),
        ("chat/completions", {}, 400, "messages", "invalid_value"),
        ("chat/completions", {"temperature": 3}, 400, "temperature", "invalid_value"),
        ("chat/completions", {"n": 0}, 400, "n", "invalid_value"),
        ("chat/completions", {"max_tokens": 0}, 400, "max_tokens", "invalid_value"),
        ("chat/completions", {"model": "nope"}, 404, "model", "model_not_found"),
        ("chat/completions", {"stop": ["a", "b", "c", "d", "e"]}, 400, "stop", "invalid_value"),
        ("chat/completions", {"top_logprobs": 3}, 400, "top_logprobs", "invalid_value"),
        ("chat/completions", {"tool_choice": "required"}, 400, "tool_choice", "invalid_value"),
        ("chat/completions", {"modalities": ["audio"]}, 400, "modalities[0]", "invalid_value"),
        ("chat/completions", {"stream_options": {"include_usage": True}}, 400, "stream_options", "invalid_value"),
        ("chat/completions", {"logit_bias": {"x": 1}}, 400, "logit_bias", "invalid_value"),
        ("chat/completions", {"logit_bias": {"9999999": 1}}, 400, "logit_bias", "invalid_value"),
        ("chat/completions", {"response_format": {"type": "x"}}, 400, "response_format.type", "invalid_value"),
        ("completions", {"prompt": []}, 400, "prompt", "invalid_value"),
        ("completions", {"prompt": [-1]}, 400, "prompt", "invalid_value"),
        ("completions", {"prompt": "x", "suffix": "y"}, 400, "suffix", "invalid_value"),
        ("completions", {"prompt": "x", "best_of": 3}, 400, "best_of", "invalid_value"),
        ("embeddings", {"input": "x", "dimensions": 12}, 400, "dimensions", "invalid_value"),
        ("embeddings", {"input": [{}]}, 400, "input[0]", "invalid_value"),
        ("embeddings", {"input": ""}, 400, "input", "invalid_value"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(
    engine: RunningEngine, path: str, body: dict[str, Any], status: int, param: str, code: str
) -> None:
    filled: dict[str, Any] = {"model": MODEL}
    if path == "chat/completions" and body:
        filled["messages"] = [{"role": "user", "content": "Hi"}]
    answer = engine.http.post(f"/v1/{path}", json={**filled, **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)
    assert error["message"]
    assert error["type"] == "invalid_request_error"


def test_a_prompt_too_long_is_refused_with_the_numbers(engine: RunningEngine) -> None:
    error = engine.chat("word " * 2000).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "1024 tokens" in error["message"]
    assert "resulted in 20" in error["message"]


def test_bad_bodies_paths_and_methods(engine: RunningEngine) -> None:
    assert engine.http.post("/v1/chat/completions", content=b"{").json()["error"]["code"] == "invalid_json"
    assert engine.http.post("/v1/chat/completions", content=b"\xff\xfe").status_code == 400
    assert engine.http.get("/v1/chat/completions").status_code == 405
    assert engine.http.get("/v1/nothing").status_code == 404
    image = [{"type": "image_url", "image_url": {"url": "data:"}}]
    refused = engine.http.post(
        "/v1/chat/completions", json={"model": MODEL, "messages": [{"role": "user", "content": image}]}
    ).json()["error"]
    assert (refused["param"], refused["code"]) == ("messages[0].content[0]", "unsupported_content")


def test_a_grammar_the_model_cannot_write_is_refused(engine: RunningEngine) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": "\U00040000"}}}
    assert engine.chat(response_format=shape).json()["error"]["code"] == "unreachable_grammar"
    assert engine.chat(max_tokens=1).status_code == 200
