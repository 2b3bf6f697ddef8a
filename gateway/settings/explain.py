"""Every fault of a document against its schema, in words: where, what was expected, what was probably meant.

The validator's own messages repeat the offending values, so they are never used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

# Slow to import, so this module is imported only once a file is known to be faulty.
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from gateway.settings.document import Document, Mark, describe
from gateway.settings.faults import Path, nearest

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


def explain(document: Document, data: object, schema: dict[str, Any]) -> None:
    """Add a fault to the document for everything in ``data`` that the schema refuses."""
    seen: set[tuple[Path, str]] = set()
    found: list[tuple[Mark, Path, str, str | None]] = []
    for error in _leaves(Draft202012Validator(schema).iter_errors(data)):
        for path, message, hint, key in _faults(error):
            if path not in document.faulty and (path, message) not in seen:
                seen.add((path, message))
                found.append((document.locate(path, key=key), path, message, hint))
    for fault in found:
        document.fault(*fault)


def _leaves(errors: Iterable[ValidationError]) -> Iterator[ValidationError]:
    """The errors themselves; of an ``anyOf`` those of the alternative whose type fits, if one does."""
    for error in errors:
        if error.validator != "anyOf":
            yield error
            continue
        groups: dict[int, list[ValidationError]] = {}
        for inner in error.context or ():
            groups.setdefault(int(inner.schema_path[0]), []).append(inner)
        fitting = [group for group in groups.values() if not any(_is_misfit(item) for item in group)]
        if fitting:
            yield from _leaves(fitting[0])
        else:
            yield error


def _is_misfit(error: ValidationError) -> bool:
    return error.validator == "type" and len(error.relative_path) == 0


def _faults(error: ValidationError) -> Iterator[tuple[Path, str, str | None, bool]]:
    """``(path, message, hint, whether the key is at fault)`` of one error."""
    path: Path = tuple(error.absolute_path)
    schema: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    value: Any = error.instance
    if error.validator == "additionalProperties":
        known = list(schema.get("properties", {}))
        for name in value:
            if name not in known:
                hint = nearest(name, known) or f"known here: {', '.join(known)}"
                yield (*path, name), "unknown key", hint, True
    elif error.validator == "required":
        for name in schema["required"]:
            if name not in value:
                yield (*path, name), f"required, and not given{_about(schema['properties'][name])}", None, False
    else:
        yield path, _expected(error, schema), _hint(error), False


def _expected(error: ValidationError, schema: dict[str, Any]) -> str:
    limit: Any = error.validator_value
    got = f"got {describe(error.instance)}"
    match error.validator:
        case "type":
            hint = (
                " (quote it to make it a text)"
                if limit == "string" and not isinstance(error.instance, dict | list)
                else ""
            )
            return f"expected {_TYPES[limit]}, {got}{hint}"
        case "anyOf":
            kinds = [_TYPES[kind] for kind in _kinds(error) if kind != "null"]
            return f"expected {' or '.join(dict.fromkeys(kinds))}, {got}"
        case "enum":
            return f"expected one of {', '.join(map(str, limit))}"
        case "pattern":
            return f"expected {schema.get('x-expected', f'a text that matches {limit}')}"
        case "minimum" | "exclusiveMinimum":
            return (
                f"expected {'at least' if error.validator == 'minimum' else 'more than'} {limit}, got {error.instance}"
            )
        case "maximum" | "exclusiveMaximum":
            return (
                f"expected {'at most' if error.validator == 'maximum' else 'less than'} {limit}, got {error.instance}"
            )
        case "minLength" | "maxLength":
            return f"expected at {'least' if error.validator == 'minLength' else 'most'} {limit} characters"
        case "minItems":
            return f"expected at least {limit} {'entry' if limit == 1 else 'entries'}"
    return f"not valid ({error.validator})"


def _kinds(error: ValidationError) -> Iterator[str]:
    for inner in error.context or ():
        if _is_misfit(inner):
            yield str(inner.validator_value)


def _hint(error: ValidationError) -> str | None:
    allowed: Any = error.validator_value
    path = tuple(error.absolute_path)
    if path == () and isinstance(error.instance, dict) and "plans" in error.instance:
        return "the file begins with the list itself, without a key plans:"
    if path[-1:] == ("budget",) and isinstance(error.instance, int | float):
        return "such as {amount: 10, period: month}"
    if path[:1] == ("providers",) and path[2:] == ("kind",):
        return nearest(str(error.instance), map(str, allowed)) or "any API like OpenAI's is kind openai"
    if error.validator == "enum" and isinstance(error.instance, str):
        return nearest(error.instance, map(str, allowed))
    return None


def _about(schema: dict[str, Any]) -> str:
    text = schema.get("description")
    return f": {text}" if text else ""
