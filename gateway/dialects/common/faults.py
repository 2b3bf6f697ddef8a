"""Faults of the input as FastAPI and Pydantic tell them, as one error of ours that names each field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError

from gateway.kernel.errors import FieldFault, GatewayError, Kind

_PLACES = frozenset({"body", "query", "path", "header", "cookie"})
_MOST = 50
# Words for machines, by the beginning of Pydantic's type; the first that fits.
_WORDS = (
    ("missing", "REQUIRED"),
    ("extra_forbidden", "UNKNOWN_FIELD"),
    ("string_too_short", "LENGTH_MIN"),
    ("string_too_long", "LENGTH_MAX"),
    ("too_short", "LENGTH_MIN"),
    ("too_long", "LENGTH_MAX"),
    ("greater_than", "RANGE_MIN"),
    ("less_than", "RANGE_MAX"),
    ("finite_number", "RANGE_MAX"),
    ("literal_error", "NOT_ALLOWED"),
    ("enum", "NOT_ALLOWED"),
    ("string_pattern", "FORMAT"),
    ("moment", "FORMAT"),
    ("unfit", "FORMAT"),
    ("datetime", "FORMAT"),
    ("value_error", "INVALID"),
)


def of_validation(error: RequestValidationError) -> GatewayError:
    """One error of ours, with every fault.

    UNSUPPORTED_MEDIA for a body that is not declared as JSON; INVALID ``invalid_json``, ``missing_required_field``
    where that is all there is, and ``validation_error``.
    """
    lines = error.errors()
    if isinstance(error.body, bytes):
        message = "Send the body as JSON, with the header Content-Type: application/json."
        return GatewayError(Kind.UNSUPPORTED_MEDIA, "unsupported_media_type", message)
    if any(line["type"] == "json_invalid" for line in lines):
        return not_json(lines[0])
    faults = [_fault(line) for line in lines[:_MOST]]
    missing = all(fault.code == "REQUIRED" for fault in faults)
    code = "missing_required_field" if missing else "validation_error"
    return GatewayError(Kind.INVALID, code, "Request validation failed.", faults[0].field, invalid=faults)


def not_json(line: Mapping[str, Any] | None = None) -> GatewayError:
    """The error for a body that can't be read."""
    where = ""
    if line is not None:
        where = f" {line.get('ctx', {}).get('error', '')} at character {line['loc'][-1]}."
    return GatewayError(Kind.INVALID, "invalid_json", f"The body is not valid JSON.{where}")


def _fault(line: Mapping[str, Any]) -> FieldFault:
    field = field_name(line["loc"])
    word = next((word for start, word in _WORDS if line["type"].startswith(start)), "TYPE")
    return FieldFault(field, _message(line), word)


def _message(line: Mapping[str, Any]) -> str:
    if line["type"] == "missing":
        return "is required"
    message: str = line["msg"].partition(" after validation")[0]
    if line["type"] in ("model_attributes_type", "model_type", "dict_type"):
        return "must be a JSON object"
    if message.startswith("Input should "):
        return "must " + message.removeprefix("Input should ")
    for verb in ("should", "must"):
        _, found, rest = message.partition(f" {verb} ")
        if found:
            return f"must {rest}"
    return message


def field_name(location: Sequence[str | int]) -> str:
    """A dotted path such as ``records[2].provider``; ``body`` where it is the body as a whole."""
    parts = list(location)
    if len(parts) > 1 and parts[0] in _PLACES:
        parts = parts[1:]
    name = ""
    for part in parts:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name
