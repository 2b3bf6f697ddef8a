"""JSON Schema to GBNF, the grammar notation llama.cpp constrains sampling with.

The grammar admits only text that parses as JSON and has the schema's shape: types, properties, required ones,
additional ones, items and their number, enums, constants, string lengths, ``anyOf``/``oneOf``, merged ``allOf`` and
``$ref`` inside the document, recursive ones too. What a grammar cannot promise (``pattern``, ``minimum`` …) is refused
in strict mode and otherwise left to the model. Properties come in the schema's order.
Notation: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md
"""

from __future__ import annotations

import json
from typing import Any

from gateway.kernel.errors import GatewayError, Kind

Schema = dict[str, Any]

_PRIMITIVES = {
    "ws": '" "?',
    "hex": "[0-9a-fA-F]",
    "char": r'[^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" hex hex hex hex)',
    "string": r'"\"" char* "\""',
    "integer": '"-"? ("0" | [1-9] [0-9]{0,15})',
    "number": '"-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "value": "object | array | string | number | boolean | null",
    "object": '"{" ws (string ws ":" ws value ("," ws string ws ":" ws value)*)? ws "}"',
    "array": '"[" ws (value ("," ws value)*)? ws "]"',
    "uuid": r'"\"" hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12} "\""',
    "day": '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])',
    "clock": '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,9})? zone',
    "zone": '"Z" | [-+] [0-2] [0-9] ":" [0-5] [0-9]',
    "date": r'"\"" day "\""',
    "time": r'"\"" clock "\""',
    "date-time": r'"\"" day "T" clock "\""',
}
_FORMATS = frozenset({"uuid", "date", "time", "date-time"})
_UNPROMISED = frozenset(
    {"pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "not", "if", "then", "else"}
    | {"dependentRequired", "dependentSchemas", "patternProperties", "propertyNames", "contains", "uniqueItems"}
    | {"minProperties", "maxProperties", "unevaluatedProperties", "unevaluatedItems"}
)
_MAX_RULES = 4000
_MAX_REPEAT = 1000


class Grammar:
    """Collects the rules of one grammar. ``field`` names the request's field in refusals."""

    def __init__(self, field: str, *, strict: bool = False) -> None:
        self._field = field
        self._strict = strict
        self._rules: dict[str, str] = {}
        self._references: dict[tuple[int, str], str] = {}
        self._documents: list[Any] = []  # kept alive: references are told apart by their document's identity

    def add(self, name: str, body: str) -> str:
        """Define a rule under ``name``, or a numbered variant where the name is taken; returns the name."""
        unique, number = name, 1
        while unique in self._rules or unique in _PRIMITIVES or unique == "root":
            number += 1
            unique = f"{name}-{number}"
        if len(self._rules) >= _MAX_RULES:
            raise self._refuse("The schema is too large.")
        self._rules[unique] = body
        return unique

    def schema(self, schema: Any) -> str:
        """The name of a rule that matches values of ``schema``."""
        self._documents.append(schema)
        return self._visit(schema, schema if isinstance(schema, dict) else {})

    def render(self, root: str) -> str:
        """The grammar's text with ``root`` as the body of its root rule."""
        rules = {**_PRIMITIVES, **self._rules, "root": root}
        return "\n".join(f"{name} ::= {body}" for name, body in rules.items()) + "\n"

    def _visit(self, schema: Any, document: Schema) -> str:
        if schema is True or schema == {}:
            return "value"
        if not isinstance(schema, dict):
            raise self._refuse(f"Expected a schema object, not {json.dumps(schema)[:80]}.")
        if self._strict and (unpromised := sorted(_UNPROMISED & schema.keys())):
            raise self._refuse(f"The keyword {unpromised[0]!r} is not supported in strict mode by the local model.")
        if "$ref" in schema:
            return self._reference(schema["$ref"], document)
        if "const" in schema:
            return self.add("const", literal(json.dumps(schema["const"], ensure_ascii=False)))
        if "enum" in schema:
            values = schema["enum"]
            if not isinstance(values, list) or not values:
                raise self._refuse("Expected 'enum' to be a list with at least one value.")
            return self.add("enum", " | ".join(literal(json.dumps(value, ensure_ascii=False)) for value in values))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._union(schema, keyword, document)
        if "allOf" in schema:
            return self._visit(self._merged(schema, document), document)
        return self._typed(schema, document)

    def _typed(self, schema: Schema, document: Schema) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            return self.add("union", " | ".join(self._typed({**schema, "type": one}, document) for one in kind))
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "value"
        if kind == "object":
            return self._object(schema, document)
        if kind == "array":
            return self._array(schema, document)
        if kind == "string":
            return self._string(schema)
        if kind in ("value", "number", "integer", "boolean", "null"):
            return str(kind)
        raise self._refuse(f"Unknown type {kind!r}: expected object, array, string, number, integer, boolean or null.")

    def _object(self, schema: Schema, document: Schema) -> str:
        properties = schema.get("properties") or {}
        extra = schema.get("additionalProperties", not properties)
        if not properties and extra is True:
            return "object"
        required = set(schema.get("required") or ())
        pairs: list[tuple[str, bool]] = []
        for name, child in properties.items():
            key = literal(json.dumps(name, ensure_ascii=False))
            pairs.append((self.add("pair", f'{key} ws ":" ws {self._visit(child, document)}'), name in required))
        if extra is not False:
            value = self._visit(extra, document)
            pair = self.add("extra", f'string ws ":" ws {value}')
            pairs.append((self.add("extras", f'{pair} ("," ws {pair})*'), False))
        return self.add("object", f'"{{" ws {self._members(pairs)} ws "}}"')

    def _members(self, pairs: list[tuple[str, bool]]) -> str:
        # Two chains of rules: "first" has written nothing yet, "more" has and so begins with a comma.
        first, more = '""', '""'
        for pair, is_required in reversed(pairs):
            rest = self.add("more", more)
            after, skipped = f"{pair} {rest}", self.add("first", first)
            first = after if is_required else f"{after} | {skipped}"
            more = f'"," ws {after}' if is_required else f'"," ws {after} | {rest}'
        return self.add("members", first)

    def _array(self, schema: Schema, document: Schema) -> str:
        prefix = [self._visit(item, document) for item in schema.get("prefixItems") or ()]
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        if prefix:
            return self.add("array", '"[" ws ' + ' "," ws '.join(prefix) + ' ws "]"')
        item = self._visit(schema.get("items", True), document)
        low, high = self._bounds(low, high)
        if high == 0:
            return self.add("array", '"[" ws "]"')
        most = "" if high is None else high - 1
        items = f'{item} ("," ws {item}){{{max(low - 1, 0)},{most}}}'
        return self.add("array", f'"[" ws ({items}){"" if low else "?"} ws "]"')

    def _string(self, schema: Schema) -> str:
        if schema.get("format") in _FORMATS:
            return str(schema["format"])
        if "minLength" not in schema and "maxLength" not in schema:
            return "string"
        low, high = self._bounds(schema.get("minLength", 0), schema.get("maxLength"))
        return self.add("text", rf'"\"" char{{{low},{"" if high is None else high}}} "\""')

    def _bounds(self, low: Any, high: Any) -> tuple[int, int | None]:
        if not isinstance(low, int) or low < 0 or not (high is None or (isinstance(high, int) and high >= low)):
            raise self._refuse(f"Expected 0 <= minimum <= maximum, not {low} and {high}.")
        if low > _MAX_REPEAT:
            raise self._refuse(f"Expected a minimum length of at most {_MAX_REPEAT}.")
        return low, high if high is None or high <= _MAX_REPEAT else None

    def _union(self, schema: Schema, keyword: str, document: Schema) -> str:
        options = schema[keyword]
        if not isinstance(options, list) or not options:
            raise self._refuse(f"Expected {keyword!r} to be a list with at least one schema.")
        base = {key: value for key, value in schema.items() if key in ("type", "properties", "required")}
        if "properties" not in base:
            base = {}
        return self.add("union", " | ".join(self._visit(_merge(base, option), document) for option in options))

    def _merged(self, schema: Schema, document: Schema) -> Schema:
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            for _ in range(32):
                if not isinstance(part, dict) or "$ref" not in part:
                    break
                part = self._resolve(part["$ref"], document)
            merged = _merge(merged, part)
        return merged

    def _reference(self, reference: Any, document: Schema) -> str:
        key = (id(document), str(reference))
        if key not in self._references:
            # Named before it is visited, so that a schema may contain itself.
            name = self._references[key] = self.add("ref", "")
            self._rules[name] = self._visit(self._resolve(reference, document), document)
        return self._references[key]

    def _resolve(self, reference: Any, document: Schema) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise self._refuse(f"Expected '$ref' to point into the schema ('#/…'), not {reference!r}.")
        target: Any = document
        for part in reference[1:].split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, dict) or part not in target:
                raise self._refuse(f"The '$ref' {reference!r} points at nothing.")
            target = target[part]
        return target

    def _refuse(self, message: str) -> GatewayError:
        return GatewayError(Kind.INVALID, "invalid_json_schema", message, self._field)


def literal(text: str) -> str:
    """``text`` as a GBNF literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def from_schema(schema: Any, field: str, *, strict: bool = False) -> str:
    """A grammar whose texts are JSON values of ``schema``. Raises ``GatewayError`` (``INVALID``) naming ``field``."""
    grammar = Grammar(field, strict=strict)
    try:
        return grammar.render(grammar.schema(schema))
    except RecursionError as error:
        raise GatewayError(Kind.INVALID, "invalid_json_schema", "The schema is nested too deeply.", field) from error


def any_object() -> str:
    """A grammar of any JSON object."""
    return Grammar("response_format").render("object")


def _merge(left: Any, right: Any) -> Any:
    if not isinstance(left, dict) or not isinstance(right, dict):
        return right
    merged = {**left, **right}
    if "properties" in left and "properties" in right:
        merged["properties"] = {**left["properties"], **right["properties"]}
    if "required" in left and "required" in right:
        merged["required"] = [*left["required"], *right["required"]]
    return merged
