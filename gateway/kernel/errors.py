"""The one exception business code raises, and its closed set of kinds.

::

    GatewayError
      kind      what went wrong, from :class:`Kind`; each API maps a kind to a status once
      code      a stable machine word within the kind, such as ``model_not_found``
      message   a sentence for a person, naming what was expected
      field     the offending parameter as a dotted path, or None
      retry_after  seconds until a retry can succeed, or None
      details   the limit that refused, a :class:`LimitDetails`, or None
      invalid   every fault of the input, :class:`FieldFault` each, where more is known than ``field`` and ``message``

Nothing below the HTTP surface knows a status code.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct


class Kind(Enum):
    """What went wrong, independent of any API's status codes."""

    INVALID = "invalid"
    TOO_LARGE = "too_large"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    PAYMENT_REQUIRED = "payment_required"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    UNSUPPORTED_MEDIA = "unsupported_media"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXCEEDED = "quota_exceeded"
    SUSPENDED = "suspended"
    UPSTREAM = "upstream"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    INTERNAL = "internal"


class Upgrade(Struct, frozen=True):
    """A plan with a higher limit. ``price`` is nano-dollars a month, or None where it is agreed upon in person.

    ``tier`` is the word an API shows for the plan where that is not its name in capitals.
    """

    plan: str
    price: int | None = None
    benefits: tuple[str, ...] = ()
    tier: str | None = None


class LimitDetails(Struct, frozen=True):
    """The limit that refused a request.

    ``limit``, ``used`` and ``remaining`` are in the metric's unit: a count, or nano-dollars for ``cost``. ``window`` is
    spelt as in a limit policy (``10s``, ``minute``, ``month`` …), None for concurrency; ``resets_at`` is Unix seconds,
    None where nothing comes back by itself. ``plan`` is the caller's plan. ``source`` is ``limit``, ``plan``,
    ``budget`` or ``credit``. ``tier`` is the word an API shows for the plan where that is not its name in capitals.
    """

    metric: str
    scope: str
    scope_id: str
    limit: int
    used: int
    remaining: int
    window: str | None = None
    resets_at: float | None = None
    plan: str | None = None
    source: str = "limit"
    tier: str | None = None
    upgrades: tuple[Upgrade, ...] = ()


class FieldFault(Struct, frozen=True):
    """One fault of the input: where, what was expected, and a stable upper-case word such as ``RANGE_MIN``."""

    field: str
    message: str
    code: str = "INVALID"


class GatewayError(Exception):
    """A failure a caller can act on. See the module docstring for the fields."""

    def __init__(
        self,
        kind: Kind,
        code: str,
        message: str,
        field: str | None = None,
        *,
        retry_after: float | None = None,
        details: LimitDetails | None = None,
        invalid: Sequence[FieldFault] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after
        self.details = details
        self.invalid = tuple(invalid)
