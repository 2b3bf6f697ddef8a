"""Texts with ``{{variable}}`` in them. A value is put in as it is, once: what it contains is never expanded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.kernel.errors import GatewayError, Kind

Value = str | int | float | bool

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]{0,63})\s*\}\}")


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    """One message of a template."""

    content: str
    role: Literal["system", "developer", "user", "assistant"] = "user"


class Template(Struct, frozen=True, forbid_unknown_fields=True):
    """A named prompt: ``messages`` for chat, ``prompt`` for text completions, and the defaults of its variables."""

    messages: tuple[Message, ...] = ()
    prompt: Annotated[str, Meta(min_length=1)] | None = None
    variables: dict[str, Value] = {}
    model: str | None = None

    def texts(self) -> list[str]:
        """Every text with variables in it."""
        return [message.content for message in self.messages] + ([self.prompt] if self.prompt is not None else [])

    def names(self) -> set[str]:
        """The variables its texts use."""
        return {name for text in self.texts() for name in _VARIABLE.findall(text)}


def check(template: Template, path: str) -> None:
    """Raise :class:`GatewayError` naming the field where a template cannot be used."""
    if not template.texts():
        raise _fault("expected messages or prompt", path)
    for text in template.texts():
        if "{{" in _VARIABLE.sub("", text):
            raise _fault("expected {{name}} with a name of letters, digits and '_'", path)
    for name in template.variables:
        if name not in template.names():
            raise _fault("the template has no such variable", f"{path}.variables.{name}")


def values_of(given: Any, template: Template) -> dict[str, str]:
    """The value of every variable as text. Raises :class:`GatewayError` for a missing, unknown or unfit one."""
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise _bad("expected an object of variables and their values", "variables")
    names = template.names()
    for name in given:
        if name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise _bad(f"the template has no variable of this name; its variables: {known}", f"variables.{name[:64]}")
    values: dict[str, str] = {}
    for name in sorted(names):
        value = given.get(name, template.variables.get(name))
        if value is None:
            message = f"The template needs the variable {name!r}, which is not given."
            raise GatewayError(Kind.INVALID, "missing_variable", message, f"variables.{name}")
        if not isinstance(value, Value):
            raise _bad("expected a text, a number, true or false", f"variables.{name}")
        values[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return values


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables replaced."""
    return _VARIABLE.sub(lambda match: values[match.group(1)], text)


def _bad(expected: str, field: str) -> GatewayError:
    return GatewayError(Kind.INVALID, "invalid_variable", f"{field}: {expected}.", field)


def _fault(message: str, field: str) -> GatewayError:
    return GatewayError(Kind.INVALID, "plugin_config", message, field)
