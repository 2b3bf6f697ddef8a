from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.load import PluginError
from plugins.prompt_template.template import Template, fill, values_of
from tests.support.plugins import configured, make_request

TEMPLATES: dict[str, Any] = {
    "support": {
        "messages": [
            {"role": "system", "content": "You are the {{tone}} support of {{ product }}."},
            {"role": "assistant", "content": "Hello {{product}}"},
        ],
        "variables": {"tone": "friendly"},
    },
    "summary": {"prompt": "In {{words}} words, {{final}}: {{text}}", "model": "small", "variables": {"final": True}},
}


async def sent(body: dict[str, Any], config: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    request = make_request({"model": "gpt-4o", **body}, **more)
    chain = configured("prompt_template", {"templates": TEMPLATES} if config is None else config)
    assert await chain.request(request) is None
    document: dict[str, Any] = orjson.loads(request.raw)
    assert request.model == document["model"]
    return document


async def test_a_template_comes_before_the_clients_messages() -> None:
    question = {"role": "user", "content": "It does not start."}
    body = {"template": "support", "variables": {"product": "Acme"}, "messages": [question], "top_p": 1, "x": "y"}
    assert await sent(body) == {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "You are the friendly support of Acme."},
            {"role": "assistant", "content": "Hello Acme"},
            question,
        ],
        "top_p": 1,
        "x": "y",
    }


async def test_the_header_names_a_template_and_wins() -> None:
    body = {"template": "nothing", "variables": {"product": "Acme", "tone": "stern"}}
    out = await sent(body, headers={"x-gateway-template": "support"})
    assert out["messages"][0]["content"] == "You are the stern support of Acme."


async def test_a_template_for_text_completions_sets_prompt_and_model() -> None:
    body = {"template": "summary", "variables": {"words": 10, "text": "x"}}
    out = await sent(body, endpoint="completions")
    assert out == {"model": "small", "prompt": "In 10 words, true: x"}


@pytest.mark.parametrize(
    ("body", "code", "field", "message"),
    [
        ({"template": "support"}, "missing_variable", "variables.product", "needs the variable 'product'"),
        ({"template": "support", "variables": {"product": None}}, "missing_variable", "variables.product", "product"),
        ({"template": "suport"}, "template_not_found", "template", "known here: summary, support"),
        ({"template": 5}, "template_not_found", "template", "known here"),
        (
            {"template": "summary", "variables": {"words": 1, "text": ""}},
            "template_not_found",
            "template",
            "is not for",
        ),
        ({"template": "support", "variables": []}, "invalid_variable", "variables", "expected an object"),
        (
            {"template": "support", "variables": {"produkt": 1}},
            "invalid_variable",
            "variables.produkt",
            "product, tone",
        ),
        ({"template": "support", "variables": {"product": {}}}, "invalid_variable", "variables.product", "a text"),
        ({"template": "support", "variables": {"product": 1}, "messages": {}}, "invalid_request", "messages", "a list"),
    ],
)
async def test_a_bad_use_is_refused(body: dict[str, Any], code: str, field: str, message: str) -> None:
    with pytest.raises(GatewayError, match=message) as caught:
        await sent(body)
    assert (caught.value.kind, caught.value.code, caught.value.field) == (Kind.INVALID, code, field)


async def test_a_request_without_a_template_is_forwarded_byte_for_byte() -> None:
    chain = configured("prompt_template", {"templates": TEMPLATES})
    for raw in (b'{ "model": "m" }', b'{ "model": "m", "x": "\\"template\\"" }', b'{ "template" : null}'):
        request = make_request({})
        request._raw = raw
        await chain.request(request)
        assert request.raw == raw
    binary = make_request(None, headers={"x-gateway-template": "support"})
    await chain.request(binary)
    assert binary.raw == b"--x"


SYSTEM = {"system": [{"models": ["gpt-*"], "text": "A"}, {"text": "Z", "place": "append"}]}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], [{"role": "system", "content": "A\n\nZ"}]),
        (
            [{"role": "user", "content": "u"}],
            [{"role": "system", "content": "A\n\nZ"}, {"role": "user", "content": "u"}],
        ),
        ([{"role": "developer", "content": "s"}], [{"role": "developer", "content": "A\n\ns\n\nZ"}]),
        (
            [{"role": "system", "content": [{"type": "text", "text": "s"}]}],
            [{"role": "system", "content": [{"type": "text", "text": text} for text in "AsZ"]}],
        ),
        ("wrong", "wrong"),
    ],
)
async def test_system_prompts_are_added(messages: Any, expected: Any) -> None:
    assert (await sent({"messages": messages}, SYSTEM))["messages"] == expected


async def test_system_prompts_are_for_their_models_and_for_chat() -> None:
    out = await sent({"model": "other", "messages": []}, SYSTEM)
    assert out["messages"] == [{"role": "system", "content": "Z"}]
    assert "messages" not in await sent({"prompt": "x"}, SYSTEM, endpoint="completions")


async def test_a_template_and_a_system_prompt_go_together() -> None:
    config = {"templates": TEMPLATES, "system": [{"text": "A"}]}
    out = await sent({"template": "support", "variables": {"product": "P"}}, config)
    assert out["messages"][0]["content"] == "A\n\nYou are the friendly support of P."


@given(values=st.dictionaries(st.sampled_from("abc"), st.text(max_size=20), min_size=3))
def test_values_are_put_in_as_they_are_and_once(values: dict[str, str]) -> None:
    text = "x{{a}}{{ b }}{c}{{c}}"
    template = Template(prompt=text)
    assert fill(text, values_of(values, template)) == f"x{values['a']}{values['b']}{{c}}{values['c']}"


@given(text=st.text(st.sampled_from("{} ab_1"), max_size=30), value=st.text(st.sampled_from("{}a"), max_size=5))
def test_any_text_can_be_filled(text: str, value: str) -> None:
    template = Template(prompt=text)
    filled = fill(text, values_of(dict.fromkeys(template.names(), value), template))
    if not template.names():
        assert filled == text


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"templates": {"a": {}}}, "plugins[0].with.templates.a: expected messages or prompt"),
        ({"templates": {"a": {"prompt": "{{a b}}"}}}, "plugins[0].with.templates.a: expected {{name}}"),
        (
            {"templates": {"a": {"prompt": "x", "variables": {"y": 1}}}},
            "templates.a.variables.y: the template has no such",
        ),
        (
            {"templates": {"a": {"messages": [{"role": "bot", "content": ""}]}}},
            "expected one of system, developer, user",
        ),
        ({"system": [{"text": ""}]}, "plugins[0].with.system[0].text: expected `str` of length >= 1"),
    ],
)
def test_a_bad_configuration_is_explained(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(PluginError) as caught:
        configured("prompt_template", config)
    assert expected in str(caught.value)
