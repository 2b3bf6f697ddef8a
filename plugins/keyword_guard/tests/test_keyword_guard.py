from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.api import Response
from gateway.plugin.chain import Chain
from gateway.plugin.load import PluginError
from gateway.plugin.sse import data_of, split_events
from tests.support.plugins import configured, delta, make_request, run_stream, sse


def guard(*lists: dict[str, Any], **more: Any) -> Chain:
    return configured(
        "keyword_guard", {"lists": [{"name": f"list{i}", **each} for i, each in enumerate(lists)], **more}
    )


def user(text: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


async def ask(chain: Chain, text: Any) -> Any:
    request = make_request(user(text), chain=chain)
    await chain.request(request)
    return orjson.loads(request.raw)["messages"][0]["content"]


async def answer(chain: Chain, text: str) -> str:
    body = orjson.dumps({"choices": [{"message": {"content": text}}]})
    response = Response(200, "application/json", body)
    await chain.response(make_request(user("x"), chain=chain), response)
    return str(response.json["choices"][0]["message"]["content"])


async def stream(chain: Chain, text: str, cuts: list[int]) -> str:
    pieces: list[str] = []
    start = 0
    while start < len(text):
        pieces.append(text[start : start + cuts[len(pieces) % len(cuts)]])
        start += len(pieces[-1])
    events = sse(*map(delta, pieces), delta(finish="stop"), "[DONE]")
    out = split_events(b"".join(await run_stream(chain, make_request(user("x", stream=True), chain=chain), events)))
    documents = [orjson.loads(data_of(event) or b"") for event in out[:-1]]
    return "".join([document["choices"][0]["delta"].get("content", "") for document in documents])


@pytest.mark.parametrize(
    "text", ["the Bluebird flies", "BLUEBIRD", "a project x.", [{"type": "text", "text": "bluebird"}]]
)
async def test_a_word_in_a_request_blocks_it_and_names_the_list_only(text: Any) -> None:
    chain = guard({"words": ["Bluebird", "Project X"]})
    with pytest.raises(GatewayError) as caught:
        await ask(chain, text)
    assert (caught.value.kind, caught.value.code) == (Kind.FORBIDDEN, "content_blocked")
    assert caught.value.message == "The request was blocked by the word list 'list0'."


@pytest.mark.parametrize("text", ["bluebirds", "my_bluebird", "blue bird", "projectx"])
async def test_other_words_pass_unchanged(text: str) -> None:
    assert await ask(guard({"words": ["Bluebird", "Project X"]}), text) == text


async def test_case_and_word_borders_can_be_chosen() -> None:
    chain = guard({"words": ["Blue"], "ignore_case": False, "whole_word": False, "action": "mask"})
    assert await ask(chain, "Bluebird bluebird") == "***bird bluebird"


async def test_the_status_can_be_400() -> None:
    with pytest.raises(GatewayError) as caught:
        await ask(guard({"words": ["x"]}, status=400), "x")
    assert caught.value.kind is Kind.INVALID


async def test_words_are_literal_and_patterns_are_not() -> None:
    chain = guard({"words": ["a.c", "c++"], "patterns": [r"TCK-\d{4,8}"], "action": "mask", "mask": "#"})
    assert await ask(chain, "a.c abc c++ tck-12345 TCK-1") == "# abc # # TCK-1"


async def test_a_list_applies_where_it_says() -> None:
    chain = guard(
        {"words": ["asked"], "action": "mask", "apply": "request"},
        {"words": ["told"], "action": "mask", "apply": "response", "mask": "-"},
        {"words": ["both"], "action": "mask"},
    )
    assert await ask(chain, "asked told both") == "*** told ***"
    assert await answer(chain, "asked told both") == "asked - ***"
    assert await stream(chain, "asked told both", [2]) == "asked - ***"


async def test_blocking_lists_see_the_text_before_masking_ones() -> None:
    chain = guard({"words": ["foo bar"], "action": "mask"}, {"words": ["bar baz"]})
    with pytest.raises(GatewayError, match="list1"):
        await ask(chain, "foo bar baz")


async def test_an_answer_can_be_blocked() -> None:
    chain = guard({"words": ["bluebird"], "apply": "response"})
    with pytest.raises(GatewayError, match="The answer was blocked by the word list 'list0'"):
        await answer(chain, "the bluebird")


async def test_nothing_of_a_blocked_word_is_streamed() -> None:
    chain = guard({"words": ["bluebird"]})
    request = make_request(user("x", stream=True), chain=chain)
    out = await run_stream(chain, request, sse(delta("the "), delta("blue"), delta("bird")))
    assert b"blue" not in b"".join(out)
    with pytest.raises(GatewayError, match="blocked"):
        await chain.chunk(request, sse(delta(" flies"))[0])


async def test_a_word_in_arguments_is_found_behind_escapes() -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": '{"q": "blu\\u0065bird"}'}}
    chain = guard({"words": ["bluebird"], "action": "mask"})
    request = make_request({"messages": [{"role": "assistant", "tool_calls": [call]}]}, chain=chain)
    await chain.request(request)
    assert request.body["messages"][0]["tool_calls"][0]["function"]["arguments"] == '{"q": "***"}'


async def test_an_untouched_request_keeps_its_bytes() -> None:
    chain = guard({"words": ["bluebird"]})
    request = make_request(user("x"), chain=chain)
    request._raw = b'{ "messages": [ {"content": "x"} ] }'
    await chain.request(request)
    assert request.raw == b'{ "messages": [ {"content": "x"} ] }'
    event = sse(delta("a blue sky "))[0]
    assert await chain.chunk(request, event) is event


WORDS = st.lists(
    st.sampled_from(["bad", "BAD word", "bad w", "ord", "badly", " ", ".", "secret", "sec", "ret", "é"]), max_size=10
)


@given(words=WORDS, cuts=st.lists(st.integers(1, 5), min_size=1, max_size=5), whole_word=st.booleans())
async def test_any_pieces_are_masked_as_the_whole(words: list[str], cuts: list[int], whole_word: bool) -> None:
    chain = guard(
        {"words": ["bad", "bad word", "secret"], "action": "mask", "whole_word": whole_word},
        {"patterns": [r"\*\*\* ?é"], "action": "mask", "mask": "+", "whole_word": False},
    )
    text = "".join(words)
    assert await stream(chain, text, cuts) == await answer(chain, text)


async def test_what_is_not_json_passes() -> None:
    chain = guard({"words": ["x"]})
    await chain.request(make_request(None, chain=chain))
    for kind, body in (("text/plain", b"x"), ("application/json", b"x{"), ("application/json", b'["x"]')):
        response = Response(200, kind, body)
        await chain.response(make_request(user("y"), chain=chain), response)
        assert response.body == body


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"lists": []}, "plugins[0].with.lists: expected `array` of length >= 1"),
        ({"lists": [{"name": "a"}]}, "plugins[0].with.lists[0]: expected at least one of words and patterns"),
        (
            {"lists": [{"name": "a", "word": ["x"]}]},
            'plugins[0].with.lists[0].word: unknown key (did you mean "words"?)',
        ),
        (
            {"lists": [{"name": "a", "patterns": ["("]}]},
            "plugins[0].with.lists[0].patterns[0]: invalid regular expression",
        ),
        ({"lists": [{"name": "a", "words": ["x"]}], "status": 418}, "plugins[0].with.status: expected one of 400, 403"),
    ],
)
def test_a_bad_configuration_is_explained(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(PluginError) as caught:
        configured("keyword_guard", config)
    assert expected in str(caught.value)
