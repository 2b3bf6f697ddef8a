"""Wire models: strict in what is asked, exact in what is answered.

=====================  =============================================================================================
``Asked``              a JSON body; types as JSON has them, an unknown field is refused and the nearest name told
``Parameters``         a query string as one model (``Annotated[Model, Query()]``); an unknown name is refused
``Answer``             what is answered
``CamelAsked`` …       the same with ``camelCase`` names on the wire
``Moment``             a time that is asked: ISO 8601, a date alone is its midnight in UTC
``Reference``          a running number or an id that is asked
``Instant``            a time that is answered: ``2024-01-01T00:00:00Z``
``Dollars``            nano-dollars that are answered as a JSON number of dollars
=====================  =============================================================================================
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

from gateway.contract.envelopes.base import timestamp
from gateway.kernel.money import to_dollars

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
# In a query string a plus that was not encoded comes as a space.
_LOST_PLUS = re.compile(r"(\d{4}-\d{2}-\d{2}T[\d:.]+) (\d{2}:?\d{2})\Z")
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_SHOWN = 60
_DEEPEST = 32


class Asked(BaseModel):
    """What a caller sends as JSON."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, populate_by_name=False)

    @model_validator(mode="wrap")
    @classmethod
    def _name_the_nearest(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        unfit = list(_unfit(value, ()))
        if unfit:
            raise ValidationError.from_exception_data(cls.__name__, unfit)
        try:
            return handler(value)
        except ValidationError as error:
            raise _with_names(error, cls) from None


class Parameters(Asked):
    """What a caller sends as a query; text is read as what the field is."""

    model_config = ConfigDict(strict=False)


class CamelAsked(Asked):
    """As :class:`Asked`, with ``camelCase`` names."""

    model_config = ConfigDict(alias_generator=to_camel)


class CamelParameters(Parameters):
    """As :class:`Parameters`, with ``camelCase`` names."""

    model_config = ConfigDict(alias_generator=to_camel)


class Answer(BaseModel):
    """What is answered: handlers make it by field name."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, serialize_by_alias=True)


class CamelAnswer(Answer):
    """As :class:`Answer`, with ``camelCase`` names."""

    model_config = ConfigDict(alias_generator=to_camel)


def _unfit(value: object, location: tuple[str | int, ...]) -> Iterator[InitErrorDetails]:
    """What no database takes, wherever it stands: NUL, halves of surrogate pairs; and what nests too deeply."""
    if len(location) > _DEEPEST:
        problem = PydanticCustomError("unfit", "must not be nested so deeply")
        yield InitErrorDetails(type=problem, loc=location[:2], input=None)
    elif isinstance(value, str):
        if _UNFIT.search(value):
            message = "must not hold NUL characters or halves of surrogate pairs"
            yield InitErrorDetails(type=PydanticCustomError("unfit", message), loc=location, input=value)
    elif isinstance(value, dict):
        for name, item in value.items():
            if isinstance(name, str) and _UNFIT.search(name):
                yield from _unfit(name, location)
            else:
                yield from _unfit(item, (*location, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unfit(item, (*location, index))


def _with_names(error: ValidationError, model: type[BaseModel]) -> ValidationError:
    """The same faults; those of unknown fields of this very model say which name was expected."""
    known = [field.alias or name for name, field in model.model_fields.items()]
    lines: list[InitErrorDetails] = []
    for line in error.errors(include_url=False):
        kind: str | PydanticCustomError = line["type"]
        context = line.get("ctx", {})
        if line["type"] == "extra_forbidden" and len(line["loc"]) == 1:
            kind = PydanticCustomError("extra_forbidden", "{hint}", {"hint": _hint(str(line["loc"][0]), known)})
        elif line["type"] in _OWN_TYPES:
            kind = PydanticCustomError(line["type"], "{hint}", {"hint": line["msg"]})
        lines.append(InitErrorDetails(type=kind, loc=line["loc"], input=line["input"], ctx=context))
    return ValidationError.from_exception_data(error.title, lines)


_OWN_TYPES = frozenset({"extra_forbidden", "moment", "reference", "unfit"})


def _hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name[:_SHOWN], known, n=1)
    if near:
        return f"is not known; did you mean {near[0]}?"
    return f"is not known; expected {', '.join(known)}" if known else "is not known; no field is expected"


def _moment(value: object) -> object:
    if isinstance(value, datetime):
        return value
    try:
        if not isinstance(value, str):
            raise ValueError
        if _DATE.match(value):
            return datetime.combine(date.fromisoformat(value), datetime.min.time(), UTC)
        found = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", value.strip().upper()))
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("moment", "must be a time in ISO 8601, such as 2024-01-01T00:00:00Z") from None


def _reference(value: object) -> object:
    # Of a union Pydantic would name each type as if it were a field.
    if type(value) not in (int, str):
        raise PydanticCustomError("reference", "must be a number or a string")
    return value


def end_of(value: object) -> object:
    """As a :class:`Moment`, but a date alone means all of that day: its end."""
    found = _moment(value)
    if isinstance(value, str) and _DATE.match(value) and isinstance(found, datetime):
        return found + timedelta(days=1) - timedelta(microseconds=1) if found.year < 9999 else found
    return found


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
EndMoment = Annotated[AwareDatetime, BeforeValidator(end_of)]
Reference = Annotated[int | str, BeforeValidator(_reference)]
Instant = Annotated[datetime, PlainSerializer(timestamp, return_type=str)]
Dollars = Annotated[int, PlainSerializer(to_dollars, return_type=float)]
