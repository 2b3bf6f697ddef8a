"""A JSON Schema as the subset of OpenAPI 3.0 that Gemini's ``Schema`` is.

Source: "Schema" in the Gemini API reference. What the subset says exactly is told in it, which every model takes; for
all else there are the fields that take JSON Schema itself (``parametersJsonSchema``, ``responseJsonSchema``).
"""

from __future__ import annotations

from typing import Any, Final

from gateway.providers.base import Json

_KEPT: Final = frozenset(
    (
        "description",
        "title",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "pattern",
        "required",
        "example",
        "default",
        "propertyOrdering",
        "nullable",
    )
)
_TYPES: Final = frozenset(("string", "number", "integer", "boolean", "array", "object"))
_SILENT: Final = frozenset(("$schema", "$id", "$comment", "$defs", "definitions", "examples", "deprecated"))
"""What constrains nothing by itself."""
_FORMATS: Final = {
    "string": frozenset(("enum", "date-time")),
    "number": frozenset(("float", "double")),
    "integer": frozenset(("int32", "int64")),
}
_MAX_DEPTH: Final = 64
_MAX_NODES: Final = 20_000  # references that are written out can grow without bound


class _Lossy(Exception):
    """The subset can't say it."""


def reduce(schema: Json) -> Json | None:
    """The same in the subset; None where that can't say it."""
    try:
        return _Reduction(schema).of(schema, 0)
    except (_Lossy, AttributeError, TypeError):
        return None


def json_schema(schema: Json) -> Json:
    """The schema for a field that takes JSON Schema: without the dialect's name, which is refused."""
    return {name: value for name, value in schema.items() if name not in ("$schema", "$comment")}


class _Reduction:
    def __init__(self, root: Json) -> None:
        self._root = root
        self._nodes = 0

    def of(self, schema: Any, depth: int) -> Json:
        self._nodes += 1
        if not isinstance(schema, dict) or depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise _Lossy
        if "$ref" in schema:
            beside = {name: value for name, value in schema.items() if name not in ("$ref", *_SILENT)}
            return {**self.of(self._found(schema["$ref"]), depth + 1), **self._plain(beside, depth)}
        return self._plain(schema, depth)

    def _plain(self, schema: Json, depth: int) -> Json:
        made: Json = {}
        for name, value in schema.items():
            if name in _KEPT:
                made[name] = value
            elif name == "type":
                self._type(value, made)
            elif name == "properties":
                made["properties"] = {key: self.of(inner, depth + 1) for key, inner in value.items()}
            elif name == "items":
                made["items"] = self.of(value, depth + 1)
            elif name == "enum":
                self._enum(value, made)
            elif name == "anyOf":
                self._any_of(value, made, depth)
            elif name == "allOf" and len(value) == 1:
                made.update(self.of(value[0], depth + 1))
            elif name == "format":
                if value not in _FORMATS.get(str(schema.get("type")), ()):
                    raise _Lossy
                made["format"] = value
            elif name not in _SILENT and not (name == "additionalProperties" and value is True):
                raise _Lossy
        return made

    def _type(self, value: Any, made: Json) -> None:
        kinds = value if isinstance(value, list) else [value]
        rest = [kind for kind in kinds if kind != "null"]
        if len(rest) != 1 or rest[0] not in _TYPES:
            raise _Lossy
        made["type"] = rest[0].upper()
        if len(rest) < len(kinds):
            made["nullable"] = True

    def _enum(self, value: Any, made: Json) -> None:
        if not all(isinstance(item, str) for item in value):
            raise _Lossy
        made["enum"] = value

    def _any_of(self, value: Any, made: Json, depth: int) -> None:
        rest = [option for option in value if option != {"type": "null"}]
        options = [self.of(option, depth + 1) for option in rest]
        if len(rest) < len(value):
            made["nullable"] = True
        if len(options) == 1 and not made.keys() & options[0].keys() - {"nullable"}:
            made.update({**options[0], **made})
        else:
            made["anyOf"] = options

    def _found(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise _Lossy
        node: Any = self._root
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict) or name not in node:
                raise _Lossy
            node = node[name]
        return node
