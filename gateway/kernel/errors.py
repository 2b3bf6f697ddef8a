"""The one exception business code raises, and its closed set of kinds.

::

    GatewayError
      kind      what went wrong, from :class:`Kind`; each API maps a kind to a status once
      code      a stable machine word within the kind, such as ``model_not_found``
      message   a sentence for a person, naming what was expected
      field     the offending parameter as a dotted path, or None
      retry_after  seconds until a retry can succeed, or None

Nothing below the HTTP surface knows a status code.
"""

from __future__ import annotations

from enum import Enum


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
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after
