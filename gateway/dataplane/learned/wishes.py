"""What a client wants of a decision, by ``x-gateway-…`` headers or by ``routing`` in the body, which goes before.

==========================  =====================  ==============================================================
header                      in ``routing``         value
==========================  =====================  ==============================================================
x-gateway-optimize-for      optimize_for           cost, speed, quality or balanced
x-gateway-max-cost          max_cost               US dollars of the request, 0 and more
x-gateway-min-quality       min_quality            a probability from 0 to 1
x-gateway-max-response-time max_response_time      seconds, above 0 and at most 86400
x-gateway-preferred-…       preferred_providers    names of providers; separated by commas in a header
x-gateway-exclude-…         exclude_providers      the same
==========================  =====================  ==============================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, get_args

import msgspec
from msgspec import Raw

from gateway.dataplane.body import invalid
from gateway.kernel.errors import GatewayError
from gateway.routing.request import Constraints, OptimizeFor

PREFIX: Final = b"x-gateway-"
FIELD: Final = "routing"
GOALS: Final[tuple[str, ...]] = get_args(OptimizeFor)
MOST_PROVIDERS: Final = 64
_LONGEST: Final = 86_400.0
_MOST_DOLLARS: Final = 1e6
_CODE: Final = "invalid_routing"

_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder(dict[str, Any] | None).decode


class Wish(NamedTuple):
    """``goal`` None: as the model is configured."""

    goal: OptimizeFor | None
    constraints: Constraints


NONE: Final = Wish(None, Constraints())


def goal_of(value: object, field: str) -> OptimizeFor:
    """One of :data:`GOALS`. Raises :class:`GatewayError` naming ``field``."""
    word = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(word, str) or word not in GOALS:
        raise wrong(field, f"one of {', '.join(GOALS)}", value)
    found: Any = word
    goal: OptimizeFor = found
    return goal


def number_of(least: float, most: float, expected: str) -> Callable[[object, str], float]:
    """A reader of numbers from ``least`` to ``most``."""

    def read(value: object, field: str) -> float:
        number = value
        if isinstance(value, str):
            try:
                number = float(value)
            except ValueError:
                number = None
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise wrong(field, expected, value)
        if not math.isfinite(number) or not least <= number <= most:
            raise wrong(field, expected, value)
        return float(number)

    return read


def names_of(value: object, field: str) -> frozenset[str]:
    """Names of providers in lower case, from a list or a text with commas. Raises :class:`GatewayError`."""
    given = value.split(",") if isinstance(value, str) else value
    expected = f"at most {MOST_PROVIDERS} names of providers"
    if not isinstance(given, list | tuple) or not 0 < len(given) <= MOST_PROVIDERS:
        raise wrong(field, expected, value)
    names = [name.strip().lower() if isinstance(name, str) else "" for name in given]
    if not all(names):
        raise wrong(field, expected, value)
    return frozenset(names)


cost_of: Final = number_of(0.0, _MOST_DOLLARS, "US dollars from 0 to 1000000")
quality_of: Final = number_of(0.0, 1.0, "a number from 0 to 1")
_seconds_of: Final = number_of(1e-6, _LONGEST, "seconds above 0 and at most 86400")

READERS: Final[dict[str, Callable[[object, str], object]]] = {
    "optimize_for": goal_of,
    "max_cost": cost_of,
    "min_quality": quality_of,
    "max_response_time": _seconds_of,
    "preferred_providers": names_of,
    "exclude_providers": names_of,
}
_HEADERS: Final = {PREFIX + name.replace("_", "-").encode(): name for name in READERS}


def wish_of(headers: Sequence[tuple[bytes, bytes]], body: Raw | None) -> Wish:
    """What a request asks for. Raises :class:`GatewayError` (INVALID) naming the header or the field."""
    found: dict[str, Any] = {}
    for header, value in headers:
        name = _HEADERS.get(header)
        if name is not None:
            found[name] = READERS[name](value.decode("latin-1").strip(), header.decode())
    if body is not None:
        for name, value in _fields(body).items():
            reader = READERS.get(name)
            if reader is None:
                raise invalid(
                    f"Unknown field '{FIELD}.{name[:100]}': expected {', '.join(READERS)}.",
                    f"{FIELD}.{name[:100]}",
                    _CODE,
                )
            if value is not None:
                found[name] = reader(value, f"{FIELD}.{name}")
    if not found:
        return NONE
    goal: OptimizeFor | None = found.pop("optimize_for", None)
    return Wish(goal, Constraints(**found))


def spelt(wish: Wish) -> str:
    """A wish as JSON: the same text for the same wish, however it was told."""
    return _encode((wish.goal, wish.constraints.fields())).decode()


def _fields(body: Raw) -> dict[str, Any]:
    try:
        return _decode(body) or {}
    except msgspec.DecodeError:
        raise invalid(f"Invalid type for '{FIELD}': expected an object.", FIELD, _CODE) from None


def wrong(field: str, expected: str, value: object) -> GatewayError:
    """The refusal of a value."""
    return invalid(f"Invalid value for '{field}': expected {expected}, got {repr(value)[:100]}.", field, _CODE)
