"""Instances of JSON schemas, derived from a text: ``city=Paris days=3`` in the text sets those properties."""

from __future__ import annotations

import re
from typing import Any

_PAIR = re.compile(r"\b(\w+)=(\"[^\"]*\"|[^\s,;]+)")


def pairs(text: str) -> dict[str, str]:
    """The ``name=value`` pairs of ``text``; a quoted value may hold spaces."""
    return {name: value.strip('"').rstrip(".?!") for name, value in _PAIR.findall(text)}


def sample(schema: dict[str, Any], text: str) -> Any:
    """An instance of ``schema``: strings are ``text`` itself unless a pair or the schema says otherwise."""
    return _Sampler(schema, text).value(schema, None)


class _Sampler:
    def __init__(self, root: dict[str, Any], text: str) -> None:
        self._root = root
        self._text = text
        self._pairs = pairs(text)

    def value(self, schema: dict[str, Any], name: str | None) -> Any:
        if "$ref" in schema:
            return self.value(self._resolve(schema["$ref"]), name)
        if "const" in schema:
            return schema["const"]
        given = self._pairs.get(name or "")
        if "enum" in schema:
            return given if given in schema["enum"] else schema["enum"][0]
        for union in ("anyOf", "oneOf", "allOf"):
            if union in schema:
                return self.value(schema[union][0], name)
        kind = schema.get("type", "object")
        return self._typed(kind[0] if isinstance(kind, list) else kind, schema, name, given)

    def _typed(self, kind: str, schema: dict[str, Any], name: str | None, given: str | None) -> Any:
        if kind == "object":
            return {key: self.value(part, key) for key, part in schema.get("properties", {}).items()}
        if kind == "array":
            count = max(1, int(schema.get("minItems", 1)))
            return [self.value(schema.get("items", {"type": "string"}), name) for _ in range(count)]
        if kind == "integer":
            return int(given) if given else len(self._text)
        if kind == "number":
            return float(given) if given else len(self._text) + 0.5
        if kind == "boolean":
            return given != "false"
        return None if kind == "null" else (given or self._text)

    def _resolve(self, reference: str) -> dict[str, Any]:
        node: Any = self._root
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        assert isinstance(node, dict)
        return node
