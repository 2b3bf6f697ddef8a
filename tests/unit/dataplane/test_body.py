"""Reading the body's top level, and passing everything else on as it came."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane import body as bodies
from gateway.dataplane.endpoints.inference import ENDPOINTS, Endpoint
from gateway.kernel.errors import GatewayError, Kind

BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}
CHAT = BY_NAME["chat.completions"]

SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text('ab\u00e9"\\', max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def test_nothing_is_asked_for_where_the_least_is_one() -> None:
    with pytest.raises(GatewayError, match="between 1 and") as error:
        bodies.max_tokens_of(bodies.decode(b'{"max_tokens":0}'), 1)
    refused(error, "max_tokens", "integer_out_of_range")


def refused(error: pytest.ExceptionInfo[GatewayError], field: str | None, code: str) -> None:
    assert error.value.kind is Kind.INVALID
    assert (error.value.field, error.value.code) == (field, code)


@st.composite
def spelled(draw: st.DrawFn, value: Any) -> str:
    """A value as some client might write it: spaced, escaped, or neither."""
    text = json.dumps(
        value,
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")])),
    )
    return text


@given(st.dictionaries(NAME, VALUE, max_size=6), st.data())
def test_every_value_goes_out_byte_for_byte(document: dict[str, Any], data: st.DataObject) -> None:
    spellings = {name: data.draw(spelled(value)) for name, value in document.items()}
    gap = data.draw(st.sampled_from(["", " ", "\n\t"]))
    raw = "{" + ",".join(f"{gap}{json.dumps(name)}{gap}:{gap}{text}{gap}" for name, text in spellings.items()) + "}"
    fields = bodies.decode(raw.encode())
    assert {name: bytes(value).decode() for name, value in fields.items()} == spellings
    sent = bodies.encode(fields).decode()
    assert b"".join(bodies.parts(fields)).decode() == sent
    assert json.loads(sent) == json.loads(raw)
    assert list(json.loads(sent)) == list(document)
    for text in spellings.values():
        assert text in sent


@pytest.mark.parametrize("number", ["1.0", "1e400", "-0.0", "2E+3", "123456789012345678901234567890", "0.1000"])
def test_numbers_keep_their_spelling(number: str) -> None:
    raw = f'{{"model":"m","x":{number}}}'.encode()
    assert bodies.encode(bodies.decode(raw)) == raw


@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    try:
        fields = bodies.decode(raw)
    except GatewayError as error:
        assert error.code == "invalid_json"  # noqa: PT017
        return
    assert isinstance(orjson.loads(bodies.encode(fields)), dict)


@given(st.dictionaries(NAME, VALUE, min_size=1, max_size=4), st.data())
def test_a_damaged_document_is_never_passed_on_as_another(document: dict[str, Any], data: st.DataObject) -> None:
    raw = json.dumps(document).encode()
    at = data.draw(st.integers(0, len(raw) - 1))
    damaged = raw[:at] + data.draw(st.binary(max_size=2)) + raw[at + 1 :]
    try:
        sent = bodies.encode(bodies.decode(damaged))
    except GatewayError:
        return
    assert json.loads(sent) == json.loads(damaged)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "empty"),
        (b"[1]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"{'model':1}", "byte 1"),
        (b'{"a":1', "truncated"),
        (b'{"a":1}x', "trailing characters"),
        (b'{"a":"\xff"}', "UTF-8: bad byte at 6"),
        (b'\xef\xbb\xbf{"a":1}', "byte 0"),
        (b'{"a":"\\ud800"}', "not valid JSON"),
    ],
)
def test_what_is_wrong_is_told(raw: bytes, says: str) -> None:
    with pytest.raises(GatewayError, match=says) as error:
        bodies.decode(raw)
    refused(error, None, "invalid_json")


def test_deep_nesting_is_refused_and_no_crash() -> None:
    with pytest.raises(GatewayError) as error:
        bodies.decode(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    refused(error, None, "invalid_json")


def test_of_a_repeated_key_only_what_was_checked_goes_on() -> None:
    fields = bodies.decode(b'{"model":"cheap","n":1,"model":"dear"}')
    assert bodies.model_of(fields, CHAT) == "dear"
    assert bodies.encode(fields).count(b'"model"') == 1
    assert orjson.loads(bodies.encode(fields)) == {"model": "dear", "n": 1}


def test_an_escaped_key_is_the_same_key() -> None:
    fields = bodies.decode(b'{"model":"cheap","mod\\u0065l":"dear"}')
    assert bodies.model_of(fields, CHAT) == "dear"
    assert orjson.loads(bodies.encode(fields)) == {"model": "dear"}


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{}", "missing_required_parameter"),
        (b'{"model":null}', "invalid_type"),
        (b'{"model":3}', "invalid_type"),
        (b'{"model":["m"]}', "invalid_type"),
        (b'{"model":""}', "invalid_request"),
    ],
)
def test_the_model_is_a_string(raw: bytes, code: str) -> None:
    with pytest.raises(GatewayError) as error:
        bodies.model_of(bodies.decode(raw), CHAT)
    refused(error, "model", code)


def test_a_default_model_stands_in() -> None:
    assert bodies.model_of({}, BY_NAME["moderations"]) == "omni-moderation-latest"


def prompt(endpoint: Endpoint, text: str) -> None:
    bodies.check_prompt(bodies.decode(f'{{"{endpoint.prompt}":{text}}}'.encode()), endpoint)


@pytest.mark.parametrize("text", ["[]", "[ ]", "[\n]", "null", "{}", '"text"', "3", "true", '["text"]', "[[]]", "[1]"])
def test_messages_are_a_list_of_objects(text: str) -> None:
    with pytest.raises(GatewayError) as error:
        prompt(CHAT, text)
    assert error.value.field == "messages"


@pytest.mark.parametrize("text", ['[{"role":"user","content":"x"}]', ' [ {"role":"user"} ]', "[\n\n {}]"])
def test_messages_in_any_spacing(text: str) -> None:
    prompt(CHAT, text)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("completions", ['"text"', '["a"]', "[1,2]", "[[1]]"], ["[]", "null", "{}", "7", "false"]),
        ("embeddings", ['"text"', '["a"]', "[1,2]"], ["[]", "null", "7"]),
        ("moderations", ['"text"', '[{"type":"text"}]', '{"type":"text"}'], ["[]", "7"]),
        ("rerank", ['"query"'], ["[]", "null"]),
    ],
)
def test_prompts_of_the_other_endpoints(name: str, good: list[str], bad: list[str]) -> None:
    endpoint = BY_NAME[name]
    for text in good:
        prompt(endpoint, text)
    for text in bad:
        with pytest.raises(GatewayError) as error:
            prompt(endpoint, text)
        assert error.value.field == endpoint.prompt


def test_a_missing_prompt_is_named() -> None:
    with pytest.raises(GatewayError, match="messages") as error:
        bodies.check_prompt({}, CHAT)
    refused(error, "messages", "missing_required_parameter")


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("null", False)])
def test_stream(text: str, value: bool) -> None:
    assert bodies.stream_of(bodies.decode(f'{{"stream":{text}}}'.encode())) is value
    assert bodies.stream_of({}) is False


@pytest.mark.parametrize("text", ['"true"', "1", "0", "[]", "{}"])
def test_stream_is_a_boolean(text: str) -> None:
    with pytest.raises(GatewayError) as error:
        bodies.stream_of(bodies.decode(f'{{"stream":{text}}}'.encode()))
    refused(error, "stream", "invalid_type")


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_tokens": 7, "max_completion_tokens": 5}, 7),  # which of the two counts is the upstream's choice
        ({"max_tokens": 5, "max_completion_tokens": None}, 5),
        ({"max_tokens": None}, None),
        ({"max_tokens": 5, "n": 3}, 15),
        ({"max_tokens": 0}, 0),
        ({"n": 3}, None),
        ({"max_tokens": 5, "n": None}, 5),
    ],
)
def test_the_most_tokens_a_request_can_get(body: dict[str, Any], most: int | None) -> None:
    assert bodies.max_tokens_of(bodies.decode(orjson.dumps(body)), 0) == most


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n"])
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("-1", "integer_out_of_range"),
        ("99999999999999999999", "integer_out_of_range"),
        ("1e300", "invalid_type"),
        ("1.5", "invalid_type"),
        ('"5"', "invalid_type"),
        ("[]", "invalid_type"),
        ("true", "invalid_type"),
    ],
)
def test_absurd_limits_are_refused(name: str, text: str, code: str) -> None:
    with pytest.raises(GatewayError, match=name) as error:
        bodies.max_tokens_of(bodies.decode(f'{{"max_tokens":1,"{name}":{text}}}'.encode()), 0)
    assert error.value.field == name
    assert error.value.code in (code, "integer_out_of_range")


@given(st.dictionaries(st.text("xyz", min_size=1, max_size=3), VALUE, max_size=3), st.sampled_from([None, False]))
def test_usage_is_asked_for_beside_the_clients_options(options: dict[str, Any], asked: bool | None) -> None:
    given_options = {**options, "include_usage": asked}
    fields = bodies.decode(
        orjson.dumps({"model": "m"})[:-1] + b',"stream_options":' + json.dumps(given_options).encode() + b"}"
    )
    assert bodies.ask_for_usage(fields) is True
    sent = json.loads(bodies.encode(fields))
    assert sent["stream_options"] == {**options, "include_usage": True}


@pytest.mark.parametrize("text", [None, "null", "{}"])
def test_usage_is_asked_for_where_nothing_was(text: str | None) -> None:
    fields = bodies.decode(b"{}" if text is None else f'{{"stream_options":{text}}}'.encode())
    assert bodies.ask_for_usage(fields) is True
    assert bytes(fields["stream_options"]) == b'{"include_usage":true}'


def test_a_client_that_asks_itself_is_left_alone() -> None:
    raw = b'{"stream_options":{ "include_usage" : true,"x":1.0}}'
    fields = bodies.decode(raw)
    assert bodies.ask_for_usage(fields) is False
    assert bodies.encode(fields) == raw


@pytest.mark.parametrize(
    ("text", "field"),
    [("[]", "stream_options"), ("true", "stream_options"), ('{"include_usage":1}', "stream_options.include_usage")],
)
def test_bad_stream_options_are_refused(text: str, field: str) -> None:
    with pytest.raises(GatewayError) as error:
        bodies.ask_for_usage(bodies.decode(f'{{"stream_options":{text}}}'.encode()))
    refused(error, field, "invalid_type")
