"""Between a wire model's fields and a service's arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import Header
from msgspec import UNSET, structs
from pydantic import BaseModel

from gateway.kernel.errors import FieldFault, GatewayError

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
"""The header that makes a repeated request have its effect once."""


def given(model: BaseModel, *names: str, **renamed: str) -> dict[str, Any]:
    """Arguments for a service's update: what the caller sent, ``UNSET`` for what they left out.

    ``renamed`` maps a service's name to the wire model's, where the two differ.
    """
    pairs = {name: name for name in names} | renamed
    return {name: getattr(model, field) if field in model.model_fields_set else UNSET for name, field in pairs.items()}


@contextmanager
def naming(**wire: str) -> Iterator[None]:
    """Tell faults by the wire's field names: ``naming(name="key_name")`` where a service speaks of ``name``."""
    try:
        yield
    except GatewayError as error:
        if error.field is None and not error.invalid:
            raise
        raise _renamed(error, wire) from None


def _renamed(error: GatewayError, wire: dict[str, str]) -> GatewayError:
    faults = [
        structs.replace(fault, field=_name(fault.field, wire), message=_sentence(fault.message, wire))
        for fault in error.invalid
    ]
    field = None if error.field is None else _name(error.field, wire)
    return GatewayError(
        error.kind,
        error.code,
        _sentence(error.message, wire),
        field,
        retry_after=error.retry_after,
        details=error.details,
        invalid=[FieldFault(fault.field, fault.message, fault.code) for fault in faults],
    )


def _name(field: str, wire: dict[str, str]) -> str:
    head = re.match(r"\w*", field)
    assert head is not None
    return wire.get(head[0], head[0]) + field[head.end() :]


def _sentence(message: str, wire: dict[str, str]) -> str:
    first, space, rest = message.partition(" ")
    return f"{_name(first, wire)}{space}{rest}" if space else message
