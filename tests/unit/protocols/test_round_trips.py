"""There and back: Chat as Anthropic's provider is asked, read as its client's request; and Messages the other way."""

from __future__ import annotations

import string
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.messages import MESSAGES
from gateway.providers.anthropic import translator
from gateway.providers.anthropic.request import Memo
from gateway.providers.base import Question, Upstream

MODEL = "claude-sonnet-4-5"
Json = dict[str, Any]

words = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=30)
names = st.text(alphabet=string.ascii_letters + "_", min_size=1, max_size=12)
scalars = st.one_of(words, st.integers(-(2**53), 2**53), st.booleans(), st.none())
objects = st.dictionaries(names, st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=4)
caching = st.sampled_from(
    [{}, {"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral", "ttl": "1h"}}]
)


def with_caching(strategy: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.builds(lambda made, more: {**made, **more}, strategy, caching)


texts = with_caching(words.map(lambda text: {"type": "text", "text": text}))
images = with_caching(
    st.one_of(
        words.map(lambda data: {"url": f"data:image/png;base64,{data.encode().hex()}"}),
        names.map(lambda name: {"url": f"https://example.com/{name}.png"}),
        names.map(lambda id: {"file_id": id}),
    ).map(lambda image: {"type": "image_url", "image_url": image})
)
files = with_caching(
    st.one_of(
        words.map(lambda data: {"file_data": f"data:application/pdf;base64,{data.encode().hex()}"}),
        names.map(lambda id: {"file_id": id}),
        words.map(lambda text: {"text": text, "filename": "t", "citations": {"enabled": True}}),
        names.map(lambda name: {"file_url": f"https://example.com/{name}.pdf", "context": "c"}),
    ).map(lambda file: {"type": "file", "file": file})
)
parts = st.one_of(texts, images, files)


def content(of: st.SearchStrategy[Json]) -> st.SearchStrategy[Any]:
    """A text, or several parts: a single plain one is the same as its text."""
    return st.one_of(words, st.lists(of, min_size=2, max_size=4))


thoughts = st.lists(
    st.one_of(
        st.builds(lambda text, sign: {"type": "thinking", "thinking": text, "signature": sign}, words, names),
        names.map(lambda data: {"type": "redacted_thinking", "data": data}),
    ),
    max_size=2,
)


@st.composite
def turns(draw: st.DrawFn) -> list[Json]:
    """What the assistant says, and the results of the tools it calls."""
    said: Json = {"role": "assistant", "content": draw(st.one_of(st.none(), words))}
    blocks = draw(thoughts)
    if blocks:
        said["reasoning_content"] = "".join(block.get("thinking", "") for block in blocks)
        said["thinking_blocks"] = blocks
    calls = [
        {
            "id": f"toolu_{number}",
            "type": "function",
            "function": {"name": draw(names), "arguments": orjson.dumps(draw(objects)).decode()},
        }
        for number in range(draw(st.integers(0, 3)))
    ]
    if calls:
        said["tool_calls"] = calls
    if said["content"] is None and not calls and not blocks:
        said["content"] = "done"
    results = []
    for call in calls:
        result: Json = {"role": "tool", "tool_call_id": call["id"], "content": draw(content(parts))}
        if draw(st.booleans()):
            result["is_error"] = True
        results.append(result)
    return [said, *results]


@st.composite
def chats(draw: st.DrawFn) -> Json:
    """Requests that Anthropic's API can say all of."""
    messages: list[Json] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(content(texts))})
    messages.append({"role": "user", "content": draw(content(parts))})
    for _ in range(draw(st.integers(0, 3))):
        messages += draw(turns())
        messages.append({"role": "user", "content": draw(content(parts))})
    chat: Json = {"model": MODEL, "messages": messages, "max_completion_tokens": draw(st.integers(1, 64_000))}
    optional: dict[str, st.SearchStrategy[Any]] = {
        "stream": st.just(True),
        "temperature": st.floats(0, 0.99),
        "top_p": st.floats(0.01, 0.99),
        "top_k": st.integers(1, 500),
        "stop": st.lists(words, min_size=1, max_size=4),
        "metadata": names.map(lambda user: {"user_id": user}),
        "service_tier": st.sampled_from(["auto", "default"]),
        "thinking": st.sampled_from([{"type": "enabled", "budget_tokens": 2048}, {"type": "disabled"}]),
        "cache_control": st.just({"type": "ephemeral"}),
        "provider_options": names.map(lambda name: {"anthropic": {f"x_{name}": 1}}),
        "response_format": objects.map(
            lambda schema: {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "object", **schema}, "strict": True},
            }
        ),
    }
    for name, strategy in optional.items():
        if draw(st.booleans()):
            chat[name] = draw(strategy)
    if draw(st.booleans()):
        chat["tools"] = draw(st.lists(tools, min_size=1, max_size=3))
        if draw(st.booleans()):
            chat["tool_choice"] = draw(choices)
            if draw(st.booleans()) and chat["tool_choice"] != "none":
                chat["parallel_tool_calls"] = False
    return chat


@st.composite
def functions(draw: st.DrawFn) -> Json:
    function: Json = {"name": draw(names), "parameters": {"type": "object", "properties": draw(objects)}}
    if draw(st.booleans()):
        function["description"] = draw(words)
    if draw(st.booleans()):
        function["strict"] = draw(st.booleans())
    tool: Json = {"type": "function", "function": function, **draw(caching)}
    if draw(st.booleans()):
        tool["provider_options"] = {"anthropic": {"defer_loading": True}}
    return tool


servers = st.just(
    {"type": "server", "vendor": "anthropic", "tool": {"type": "web_search_20250305", "name": "web_search"}}
)
tools = st.one_of(functions(), servers)
choices = st.one_of(
    st.sampled_from(["auto", "required", "none"]),
    names.map(lambda name: {"type": "function", "function": {"name": name}}),
)


def sent(chat: Json) -> Json:
    call = translator().request(Question(chat, Upstream(MODEL)))
    assert call.dropped == ()
    body: Json = orjson.loads(call.body)
    return body


def merged(chat: Json) -> Json:
    """The same with what is one turn to Anthropic as one message: results of tools, then what the user says."""
    messages: list[Json] = []
    for message in chat["messages"]:
        last = messages[-1] if messages else None
        if last is not None and last["role"] == message["role"] == "user":
            last["content"] = [*as_parts(last["content"]), *as_parts(message["content"])]
        else:
            messages.append(dict(message))
    return {**chat, "messages": messages}


def as_parts(content: Any) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


@given(chats())
def test_a_chat_comes_back_as_it_was(chat: Json) -> None:
    assert MESSAGES.request(sent(chat)).chat == merged(chat)


@given(chats())
def test_messages_come_back_as_they_were(chat: Json) -> None:
    body = sent(chat)
    assert sent(MESSAGES.request(body).chat) == body


usages = st.builds(
    lambda fresh, read, written, out, thought: {
        "input_tokens": fresh,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": out + thought,
        **({"output_tokens_details": {"thinking_tokens": thought}} if thought else {}),
        **(
            {"cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0}}
            if written
            else {}
        ),
    },
    *[st.integers(0, 10**6)] * 5,
)
blocks = st.one_of(
    st.builds(lambda text, sign: {"type": "thinking", "thinking": text, "signature": sign}, words, names),
    names.map(lambda data: {"type": "redacted_thinking", "data": data}),
    words.map(lambda text: {"type": "text", "text": text}),
    st.builds(
        lambda id, name, given: {"type": "tool_use", "id": f"toolu_{id}", "name": name, "input": given},
        names,
        names,
        objects,
    ),
    st.builds(
        lambda id, given: {"type": "server_tool_use", "id": f"srvtoolu_{id}", "name": "web_search", "input": given},
        names,
        objects,
    ),
)
reasons = st.sampled_from(
    ["end_turn", "max_tokens", "stop_sequence", "pause_turn", "refusal", "model_context_window_exceeded"]
)


def one_text(content: list[Json]) -> list[Json]:
    """Texts that follow one another are one to Chat, and calls are the last."""
    found: list[Json] = []
    for block in content:
        if found and block["type"] == found[-1]["type"] == "text":
            found[-1] = {"type": "text", "text": found[-1]["text"] + block["text"]}
        else:
            found.append(block)
    return found


@given(st.lists(blocks, max_size=5), reasons, usages)
def test_an_answer_comes_back_as_it_was(content: list[Json], reason: str, usage: Json) -> None:
    if any(block["type"] == "tool_use" for block in content) and reason == "end_turn":
        reason = "tool_use"
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": "S" if reason == "stop_sequence" else None,
        "usage": usage,
    }
    back = MESSAGES.response(translator().response(orjson.dumps(message), Memo(0)), None)
    assert one_text(back.pop("content")) == one_text(content)
    message.pop("content")
    assert back == message
