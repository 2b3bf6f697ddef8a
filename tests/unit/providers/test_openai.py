"""What goes to a target of OpenAI's API of a request that came in another protocol."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.providers.openai import plain

EPHEMERAL = {"cache_control": {"type": "ephemeral"}}


def sent(vendor: str = "openai", **chat: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}], **chat}
    before = orjson.dumps(chat)
    made = plain(chat, vendor)
    assert orjson.dumps(chat) == before, "the request was changed"
    return made


def messages(*given: dict[str, Any], vendor: str = "openai") -> list[dict[str, Any]]:
    made, dropped = sent(vendor, messages=list(given))
    assert dropped == ()
    found: list[dict[str, Any]] = made["messages"]
    return found


@pytest.mark.parametrize(
    ("vendor", "name"), [("openai", "max_completion_tokens"), ("groq", "max_tokens"), ("", "max_tokens")]
)
def test_the_limit_by_the_name_a_vendor_knows(vendor: str, name: str) -> None:
    assert sent(vendor, max_completion_tokens=9)[0][name] == 9


@pytest.mark.parametrize(
    ("chat", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 8192}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 20000}}, "high"),
        ({"thinking": {"type": "adaptive"}, "reasoning_effort": "low"}, "low"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "disabled"}}, None),
    ],
)
def test_thinking_is_an_effort(chat: dict[str, Any], effort: str | None) -> None:
    made, dropped = sent(**chat)
    assert (made.get("reasoning_effort"), dropped) == (effort, ())
    assert "thinking" not in made


def test_fields() -> None:
    made, dropped = sent(cache_control={"type": "ephemeral"}, metadata={"user_id": "u", "run": "1"}, stream=True)
    assert made == {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "user": "u",
        "metadata": {"run": "1"},
        "stream": True,
    }
    assert dropped == ()
    assert "metadata" not in sent(metadata={"user_id": "u"})[0]


def test_what_gets_lost_is_named() -> None:
    assert sent(top_k=3)[1] == ("top_k",)
    assert sent("", top_k=3)[0]["top_k"] == 3
    assert sent(provider_options={"anthropic": {"container": "c"}})[1] == ("provider_options.anthropic",)
    server = {"type": "server", "vendor": "anthropic", "tool": {}}
    made, dropped = sent(tools=[server], tool_choice="auto", parallel_tool_calls=False)
    assert dropped == ("tools.anthropic",)
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & made.keys()
    for part, name in (
        ({"type": "provider_block", "vendor": "anthropic", "block": {"type": "container_upload"}}, "container_upload"),
        ({"type": "image_url", "image_url": {"file_id": "f"}}, "image_url.file_id"),
        ({"type": "file", "file": {"file_url": "https://e.x"}}, "file.file_url"),
    ):
        assert sent(messages=[{"role": "user", "content": [part]}])[1] == (f"messages.content.{name}",)


def test_tools_without_what_is_anthropics() -> None:
    function = {"name": "f", "parameters": {"type": "object"}}
    tool = {"type": "function", "function": function, **EPHEMERAL, "provider_options": {"anthropic": {"x": 1}}}
    assert sent(tools=[tool])[0]["tools"] == [{"type": "function", "function": function}]


def test_contents() -> None:
    result = {"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "found"}]}
    pdf = {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "citations": {"enabled": True}}}
    text = {"type": "file", "file": {"text": "notes", "filename": "N", "context": "C"}}
    image = {"type": "image_url", "image_url": {"url": "https://e.x/a.png"}}
    (made,) = messages(
        {"role": "user", "content": [{"type": "text", "text": "a", **EPHEMERAL}, result, pdf, text, image]}
    )
    assert made["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "T (S)\nfound"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "document.pdf"}},
        {"type": "text", "text": "N\nC\nnotes"},
        image,
    ]
    (joined,) = messages({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})
    assert joined["content"] == "a\nb"


def test_pictures_in_the_results_of_tools_come_in_a_message_of_the_users() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://e.x/a.png"}}
    made = messages(
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "1"}, image]},
        {"role": "tool", "tool_call_id": "b", "content": [image], "is_error": True},
        {"role": "user", "content": "so?"},
        {"role": "tool", "tool_call_id": "c", "content": [image]},
    )
    where = "(The result is in the next message of the user.)"
    assert made == [
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": f"Error: {where}"},
        {"role": "user", "content": [image, image]},
        {"role": "user", "content": "so?"},
        {"role": "tool", "tool_call_id": "c", "content": where},
        {"role": "user", "content": [image]},
    ]


def test_thoughts_go_back_to_those_who_read_them() -> None:
    said = {
        "role": "assistant",
        "content": "x",
        "reasoning_content": "hm",
        "thinking_blocks": [{"type": "thinking"}],
        "provider_blocks": {"vendor": "anthropic", "blocks": []},
    }
    assert messages(said) == [{"role": "assistant", "content": "x"}]
    assert messages(said, vendor="deepseek") == [{"role": "assistant", "content": "x", "reasoning_content": "hm"}]
