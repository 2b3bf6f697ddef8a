"""A document's tree to plain values: placeholders expanded, scalars resolved, and fitted to what the schema wants."""

from __future__ import annotations

from typing import Any

from gateway.settings.document import MAX_VALUES, Document, Node, resolve
from gateway.settings.expand import Expander, ExpandError, sole_placeholder, sole_variable
from gateway.settings.faults import Path


class Values:
    """The plain values of one document.

    ``data`` is the value, ``sole`` the values at paths that are one placeholder and nothing else, ``variables`` the
    environment variable such a value came from. Faults go into the document.
    """

    def __init__(self, document: Document, expander: Expander) -> None:
        self.document = document
        self.expander = expander
        self.sole: dict[Path, str] = {}
        self.variables: dict[Path, str] = {}
        self._left = MAX_VALUES
        self.data: Any = self._value(document.root, ()) if document.root is not None else None

    def _value(self, node: Node, path: Path) -> Any:
        # Aliases may share a node many times over, so the values are counted, not the nodes.
        self._left -= 1
        if self._left <= 0:
            if self._left == 0:
                self.document.fault(node.mark, path, f"the document has more than {MAX_VALUES} values")
            return None
        value = node.value
        if isinstance(value, dict):
            return {name: self._value(item, (*path, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, (*path, index)) for index, item in enumerate(value)]
        if "${" in value:
            return self._expand(value, node, path)
        return resolve(value) if node.plain else value

    def _expand(self, text: str, node: Node, path: Path) -> str:
        try:
            value = self.expander.expand(text)
        except ExpandError as error:
            self.document.fault(node.mark, path, error.message, error.hint)
            return ""
        if sole_placeholder(text):
            self.sole[path] = value
            variable = sole_variable(text)
            if variable is not None:
                self.variables[path] = variable
        return value

    def fit(self, schema: dict[str, Any]) -> None:
        """Turn texts that came from one placeholder into the number, truth value or nothing the schema wants there."""
        for path, text in self.sole.items():
            wanted = _wanted(schema, path)
            if "null" in wanted and text == "":
                self._replace(path, None)
            elif wanted and "string" not in wanted:
                value = resolve(text)
                if _TYPES.get(type(value), "") in wanted or (isinstance(value, int) and "number" in wanted):
                    self._replace(path, value)

    def _replace(self, path: Path, value: object) -> None:
        holder = self.data
        for part in path[:-1]:
            holder = holder[part]
        holder[path[-1]] = value


_TYPES = {bool: "boolean", int: "integer", float: "number"}


def _wanted(schema: dict[str, Any], path: Path) -> set[str]:
    """The JSON types the schema allows at ``path``; empty where it says nothing."""
    places = _branches(schema, schema)
    for part in path:
        found: list[dict[str, Any]] = []
        for place in places:
            if isinstance(part, int):
                inner = place.get("items")
            else:
                inner = place.get("properties", {}).get(part, place.get("additionalProperties"))
            if isinstance(inner, dict):
                found += _branches(schema, inner)
        places = found
    return {place["type"] for place in places if isinstance(place.get("type"), str)}


def _branches(root: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in schema:
        return _branches(root, root["$defs"][schema["$ref"].rsplit("/", 1)[1]])
    if "anyOf" in schema:
        return [branch for option in schema["anyOf"] for branch in _branches(root, option)]
    return [schema]
