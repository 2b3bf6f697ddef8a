"""What AI Marketplace's routing API is asked (reference, "ML Routing"), read and checked.

Constraints are in the reference's units: ``maxCost`` in US dollars, ``maxResponseTime`` in milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from gateway.dataplane.learned.asked import BatchBody, OneBody, Requests, Together
from gateway.dataplane.learned.prompts import asked_in
from gateway.dataplane.learned.wishes import cost_of, goal_of, names_of, number_of, quality_of
from gateway.kernel.compiling import mypyc_attr
from gateway.kernel.errors import FieldFault, GatewayError, Kind
from gateway.routing.candidates import CHARS_PER_TOKEN
from gateway.routing.request import Constraints, OptimizeFor

MOST: Final = 100
"""Requests in one batch."""
KNOWN: Final = 256
"""Constraints that are kept as they were read; the oldest go first."""
_LONG: Final = 1_000  # bytes; longer ones are read anew
_LONGEST: Final = 86_400_000.0
# What a message's content begins with.
_TEXT: Final = ord('"')
_LIST: Final = ord("[")
_NULL: Final = ord("n")
_AT: Final = re.compile(r" - at `\$\.?(?P<at>[^`]*)`$")

T = TypeVar("T")


@mypyc_attr(acyclic=True)
class Asked:
    """One prompt to route. ``goal`` None: not said. ``tokens`` are those of all messages, about."""

    __slots__ = ("constraints", "goal", "prompt", "tokens")

    def __init__(self, prompt: str, tokens: int, goal: OptimizeFor | None, constraints: Constraints) -> None:
        self.prompt = prompt
        self.tokens = tokens
        self.goal = goal
        self.constraints = constraints


class AskedBatch(NamedTuple):
    """Prompts to route together. ``order`` has the place of each, the most important first."""

    requests: list[Asked]
    goal: OptimizeFor
    balance: bool
    order: list[int]


_one: Final = msgspec.json.Decoder(OneBody)
_batch: Final = msgspec.json.Decoder(BatchBody)
_requests: Final = msgspec.json.Decoder(Requests)
_object: Final = msgspec.json.Decoder(dict[str, Any] | None)

_seconds: Final = number_of(1.0, _LONGEST, "milliseconds from 1 to 86400000")


def _milliseconds(value: object, field: str) -> float:
    return _seconds(value, field) / 1000.0


_READERS: Final[dict[str, tuple[str, Callable[[object, str], object]]]] = {
    "maxCost": ("max_cost", cost_of),
    "minQuality": ("min_quality", quality_of),
    "maxResponseTime": ("max_response_time", _milliseconds),
    "preferredProviders": ("preferred_providers", names_of),
    "excludeProviders": ("exclude_providers", names_of),
}
SPELT: Final = {name: spelt for spelt, (name, _) in _READERS.items()}
"""The reference's name of each constraint."""


def read_one(body: bytes) -> Asked:
    """One request. Raises :class:`GatewayError` (INVALID) naming the field."""
    return _checked(_decoded(_one, body), "")


def read_batch(body: bytes) -> AskedBatch:
    """A batch. Raises :class:`GatewayError` (INVALID) naming the field."""
    try:
        asked = _decoded(_batch, body)
    except GatewayError as error:
        raise _located(body, error) from None
    count = len(asked.requests)
    if not 0 < count <= MOST:
        raise fault("requests", f"expected 1 to {MOST} requests, got {count}")
    requests = [_checked(one, f"requests[{place}].") for place, one in enumerate(asked.requests)]
    how = asked.batch_optimization or Together()
    goal: OptimizeFor = "balanced"
    if how.optimize_for is not None:
        goal = goal_of(how.optimize_for, "batchOptimization.optimizeFor")
    first = how.priority_order or []
    if len(set(first)) != len(first) or any(not 0 <= place < count for place in first):
        raise fault("batchOptimization.priorityOrder", f"expected different numbers from 0 to {count - 1}")
    order = [*first, *(place for place in range(count) if place not in first)]
    return AskedBatch(requests, goal, how.load_balance, order)


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes, name: str = "body") -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _AT.search(str(error))
        field = found.group("at") if found is not None else ""
        message = _AT.sub("", str(error))
        unknown = re.fullmatch(r"Object (?:contains unknown|missing required) field `(.*)`", message)
        if unknown is not None:
            field = f"{field}.{unknown.group(1)}" if field else unknown.group(1)
        raise fault(field or name, message) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise fault(name, "expected a JSON object") from None


def _located(body: bytes, error: GatewayError) -> GatewayError:
    """The refusal of a batch, with the number of the request whose field it is."""
    if not (error.field or "").startswith("requests[...]"):
        return error
    for place, raw in enumerate(_requests.decode(body).requests):
        try:
            _decoded(_one, bytes(raw))
        except GatewayError as found:
            message = found.message.removeprefix(f"{found.field}: ").removesuffix(".")
            return fault(f"requests[{place}].{found.field}" if found.field != "body" else f"requests[{place}]", message)
    return error


def _checked(asked: OneBody, within: str) -> Asked:
    if not asked.messages:
        raise fault(f"{within}messages", "expected at least one message")
    size = 0
    for place, message in enumerate(asked.messages):
        role = message.role
        if not role:
            raise fault(f"{within}messages[{place}].role", "expected a text such as user")
        content = bytes(message.content)  # a view of a small one takes six times as long
        begins = content[0]
        if begins != _TEXT and begins != _LIST and (begins != _NULL or role == "user"):
            raise fault(f"{within}messages[{place}].content", "expected a text, or a list of parts")
        size += len(content)
    goal = None if asked.optimize_for is None else goal_of(asked.optimize_for, f"{within}optimizeFor")
    return Asked(
        asked_in(asked.messages), size // CHARS_PER_TOKEN, goal, _constraints(bytes(asked.constraints), within)
    )


_known: Final[dict[bytes, Constraints]] = {}


def _constraints(raw: bytes, within: str) -> Constraints:
    """Read once: an app asks again and again with the same ones."""
    found = _known.get(raw)
    if found is None:
        found = _read(raw, within)
        if len(raw) <= _LONG:
            while len(_known) >= KNOWN:
                del _known[next(iter(_known))]
            _known[raw] = found
    return found


def _read(raw: bytes, within: str) -> Constraints:
    given = _decoded(_object, raw, f"{within}constraints") or {}
    found: dict[str, Any] = {}
    where = f"{within}constraints."
    for spelt, value in given.items():
        known = _READERS.get(spelt)
        if known is None:
            raise fault(where + spelt[:100], f"unknown: expected {', '.join(_READERS)}")
        name, reader = known
        if value is None or (value == [] and name.endswith("_providers")):
            continue
        found[name] = reader(value, where + spelt)
    return Constraints(**found)


def fault(field: str, message: str) -> GatewayError:
    """The refusal of a request's field."""
    sentence = message[:1].upper() + message[1:]
    return GatewayError(
        Kind.INVALID, "invalid_request", f"{field}: {message}.", field, invalid=[FieldFault(field, f"{sentence}.")]
    )
