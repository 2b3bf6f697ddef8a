"""JSON Schema to GBNF, judged by llama.cpp's own grammar engine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.kernel.errors import GatewayError
from gateway.local.grammar import any_object, from_schema, literal
from gateway.local.native import LoadedModel


def accepts(model: LoadedModel, grammar: str, text: str) -> bool:
    """Whether ``text`` is a whole sentence of the grammar."""
    lib = model.lib
    sampler = lib.llama_sampler_init_grammar(model.vocab, grammar.encode(), b"root")
    assert sampler, f"llama.cpp refuses the grammar:\n{grammar}"
    try:
        for token in [
            *model.tokenize(text, add_special=False, parse_special=False),
            int(lib.llama_vocab_eos(model.vocab)),
        ]:
            data = lib.llama_token_data(id=token, logit=1.0, p=0.0)
            array = lib.llama_token_data_array(data=lib.ctypes.pointer(data), size=1, selected=-1, sorted=False)
            lib.llama_sampler_apply(sampler, lib.ctypes.byref(array))
            if data.logit == float("-inf"):
                return False
            lib.llama_sampler_accept(sampler, token)
        return True
    finally:
        lib.llama_sampler_free(sampler)


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 5},
        "age": {"type": "integer"},
        "kind": {"enum": ["a", 'quo"te', 3, None]},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
    },
    "required": ["age"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "number"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
MERGED = {
    "allOf": [
        {"properties": {"a": {"type": "boolean"}}, "required": ["a"]},
        {"properties": {"b": {"const": "x\ny\\"}}, "required": ["b"]},
    ],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (PERSON,
         ['{"age": 1}', '{"name": "é", "age": -20, "tags": ["x"]}', '{"age":0,"kind":"quo\\"te"}',
          '{"age": 3, "kind": null}'],
         ["{}", '{"age": "1"}', '{"age": 1, "more": 2}', '{"age": 01}', '{"name": "", "age": 1}', '{"age": 1.5}',
          '{"name": "toolong", "age": 1}', '{"age": 1, "tags": []}', '{"age": 1, "tags": ["a","b","c"]}',
          '{"age": 1,}', '{"age": 1, "kind": "b"}']),
        (TREE, ['{"value": 1, "next": null}', '{"value": 1.5e3, "next": {"value": -2, "next": null}}'],
         ['{"value": 1}', '{"value": 1, "next": 3}']),
        (MERGED, ['{"a": true, "b": "x\\ny\\\\"}'],
         ['{"a": true}', '{"a": true, "b": "xy"}', '{"a": true, "b": "x\ny"}']),
        ({"type": "object"}, ["{}", '{"a": [1, {"b": null}]}'], ["[]", "1", '{"a"}']),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, ["{}", '{"a": 1, "b": 2}'], ['{"a": "x"}']),
        ({"type": ["string", "null"]}, ["null", '"x"', '"\\u00e9\\n"'], ["1", '"a\nb"', '"\\x"']),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
         ['[1, "a"]'], ["[1]", '["a", 1]']),
        ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
        ({"oneOf": [{"type": "integer"}, {"type": "boolean"}]}, ["7", "false"], ['"7"']),
        ({"type": "string", "format": "date"}, ['"2024-02-29"'], ['"2024-13-01"', '"yesterday"']),
        ({"type": "string", "format": "uuid"}, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"123e"']),
        (True, ["1", "{}", '"a"'], ["nope"]),
    ],
)  # fmt: skip
def test_a_grammar_admits_what_its_schema_does(
    model: LoadedModel, schema: Any, good: list[str], bad: list[str]
) -> None:
    grammar = from_schema(schema, "response_format")
    assert [text for text in good if not accepts(model, grammar, text)] == []
    assert [text for text in bad if accepts(model, grammar, text)] == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.dictionaries(st.text(max_size=4), JSON, max_size=3))
def test_any_object_is_admitted(model: LoadedModel, value: dict[str, Any]) -> None:
    assert accepts(model, any_object(), json.dumps(value))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON)
def test_a_constant_admits_itself_alone(model: LoadedModel, value: Any) -> None:
    grammar = from_schema({"const": value}, "response_format")
    text = json.dumps(value, ensure_ascii=False)
    tokens = model.tokenize(text, add_special=False, parse_special=False)
    # Some bytes of rare characters are missing from the small model's vocabulary.
    assume(b"".join(model.piece(token) for token in tokens) == text.encode())
    assert accepts(model, grammar, text)
    assert not accepts(model, grammar, text + "0")


@pytest.mark.parametrize(
    ("schema", "strict", "told"),
    [
        ({"type": "string", "pattern": "a"}, True, "'pattern'"),
        ({"properties": {"n": {"type": "integer", "minimum": 1}}}, True, "'minimum'"),
        ({"type": "date"}, False, "Unknown type 'date'"),
        ({"$ref": "http://example.com/x"}, False, "point into the schema"),
        ({"$ref": "#/$defs/x"}, False, "points at nothing"),
        ({"enum": []}, False, "at least one value"),
        ({"type": "array", "minItems": 3, "maxItems": 1}, False, "minimum <= maximum"),
        (7, False, "Expected a schema object"),
    ],
)
def test_what_a_grammar_cannot_promise_is_refused(schema: Any, strict: bool, told: str) -> None:
    with pytest.raises(GatewayError, match=told) as caught:
        from_schema(schema, "response_format.json_schema.schema", strict=strict)
    assert caught.value.field == "response_format.json_schema.schema"


def test_a_pattern_is_left_to_the_model_outside_strict_mode() -> None:
    assert "string" in from_schema({"type": "string", "pattern": "a"}, "x")


def test_deep_nesting_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(3000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(GatewayError, match=r"nested too deeply|too large"):
        from_schema(schema, "x")


def test_literals_are_escaped() -> None:
    assert literal('a"b\\c\nd') == '"a\\"b\\\\c\\nd"'
