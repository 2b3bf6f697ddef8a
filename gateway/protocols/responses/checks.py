"""Checks of a request's fields, whose refusals name the field and what was expected."""

from __future__ import annotations

from typing import Any

from gateway.kernel.errors import GatewayError, Kind
from gateway.protocols.base import Json, missing
from gateway.protocols.base import invalid as wrong


def refusal(message: str, field: str, code: str = "invalid_value") -> GatewayError:
    """A 400 with a sentence of its own."""
    return GatewayError(Kind.INVALID, code, message, field)


def unsupported(field: str, why: str) -> GatewayError:
    """What Chat Completions has no way to say. ``why`` completes the sentence "This model's provider"."""
    message = f"Unsupported parameter: '{field}'. This model's provider {why}."
    return GatewayError(Kind.INVALID, "unsupported_parameter", message, field)


def string(value: object, field: str) -> str:
    """A required string."""
    if isinstance(value, str):
        return value
    raise missing(field) if value is None else wrong(field, "a string", value)


def text_or_none(value: object, field: str) -> str | None:
    """An optional string."""
    return None if value is None else string(value, field)


def object_of(value: object, field: str) -> Json:
    """A required object."""
    if isinstance(value, dict):
        return value
    raise missing(field) if value is None else wrong(field, "an object", value)


def array(value: object, field: str) -> list[Any]:
    """A required array."""
    if isinstance(value, list):
        return value
    raise missing(field) if value is None else wrong(field, "an array", value)


def boolean(value: object, field: str, default: bool) -> bool:
    """An optional boolean."""
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    raise wrong(field, "true or false", value)


def integer(value: object, field: str, least: int, most: int) -> int | None:
    """An optional integer within its bounds, both included."""
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise wrong(field, f"an integer from {least} to {most}", value)
    return value


def one_of(value: object, field: str, words: tuple[str, ...]) -> str:
    """A required string out of a few."""
    word = string(value, field)
    if word not in words:
        raise wrong(field, f"one of {', '.join(words)}", word)
    return word
