"""The reduction of JSON Schemas: what it gives means the same, and what it can't say it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.providers.gemini.schema import json_schema, reduce

LEAF: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "enum": ["a", "b"]},
        {"type": ["string", "null"], "maxLength": 2},
        {"type": "integer", "minimum": 1},
        {"type": "number", "maximum": 2},
        {"type": "boolean"},
        {"$ref": "#/$defs/Name"},
    ]
)
SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items, "maxItems": 2}, inner),
        st.builds(
            lambda a, b: {"type": "object", "properties": {"a": a, "b": b}, "required": ["a"]},
            inner,
            inner,
        ),
        st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
        st.builds(lambda a: {"anyOf": [a, {"type": "null"}]}, inner),
    ),
    max_leaves=6,
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 3), st.sampled_from(["a", "b", "abc"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=6,
)


def restored(schema: dict[str, Any]) -> dict[str, Any]:
    """A reduced schema as JSON Schema, by what the Gemini API reference says its words mean."""
    made: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "type":
            made["type"] = value.lower()
        elif name == "properties":
            made[name] = {key: restored(inner) for key, inner in value.items()}
        elif name == "items":
            made[name] = restored(value)
        elif name == "anyOf":
            made[name] = [restored(option) for option in value]
        elif name != "nullable":
            made[name] = value
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") else made


@given(schema=SCHEMAS, value=VALUES)
def test_a_reduced_schema_allows_the_same_values(schema: dict[str, Any], value: Any) -> None:
    schema = {**schema, "$defs": {"Name": {"type": "string", "minLength": 1}}}
    reduced = reduce(schema)

    assert reduced is not None
    assert Draft202012Validator(restored(reduced)).is_valid(value) == Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": False},
        {"type": "integer", "exclusiveMinimum": 0},
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {"allOf": [{"type": "string"}, {"maxLength": 3}]},
        {"enum": [1, 2]},
        {"const": "x"},
        {"type": ["string", "integer"]},
        {"type": "string", "format": "email"},
        {"not": {"type": "string"}},
        {"$ref": "#/$defs/Missing"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#"},
        {"items": True},
        {"properties": {"a": 5}},
        {"properties": []},
    ],
)
def test_what_the_subset_can_not_say(schema: dict[str, Any]) -> None:
    assert reduce(schema) is None


def test_a_schema_that_holds_itself_does_not_run_on() -> None:
    node: dict[str, Any] = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    deeper = [{key: {"$ref": f"#/$defs/L{level + 1}"} for key in "abcd"} for level in range(9)]
    wide = {f"L{level}": {"properties": properties} for level, properties in enumerate(deeper)}

    assert reduce({"$ref": "#/$defs/Node", "$defs": {"Node": node}}) is None
    assert reduce({"$ref": "#/$defs/L0", "$defs": {**wide, "L9": {"type": "string"}}}) is None


def test_one_choice_is_no_choice() -> None:
    assert reduce({"anyOf": [{"type": "string"}, {"type": "null"}], "description": "d"}) == {
        "type": "STRING",
        "nullable": True,
        "description": "d",
    }
    assert reduce({"allOf": [{"type": "string"}], "title": "t"}) == {"type": "STRING", "title": "t"}
    assert reduce({"type": "string", "format": "date-time"}) == {"type": "STRING", "format": "date-time"}


def test_json_schema_without_its_dialect() -> None:
    assert json_schema({"$schema": "x", "$comment": "y", "type": "object"}) == {"type": "object"}
