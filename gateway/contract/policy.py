"""What the sidecar tells the data plane: who a credential is, what it may do, and what has changed since.

The data plane keeps what it was told in a bounded cache and drops it when a :class:`Change` names it. Money is integer
nano-dollars, times are Unix seconds unless a name ends in ``_ns``.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Scope = Literal["key", "user", "organization", "model", "provider", "global"]
Metric = Literal["requests", "tokens", "cost", "concurrency", "ai_requests"]
Status = Literal["active", "revoked", "expired", "disabled", "suspended"]
Source = Literal["limit", "plan", "budget", "credit"]
ChangeKind = Literal["credential", "user", "organization", "plan", "app", "pricing", "routing", "everything"]


class LimitPolicy(Struct, frozen=True, omit_defaults=True):
    """One limit: at most ``limit`` of ``metric`` in each ``window``, counted for ``scope`` ``scope_id`` as a whole.

    ``window`` is ``10s``, ``minute``, ``hour``, ``day``, ``week``, ``month``, ``year`` or ``total``; None for
    ``concurrency``. A ``sliding`` window counts the last span of its length instead of a span of the calendar.
    ``model`` and ``provider`` restrict it to requests for that model or served by that provider. ``source`` is where it
    comes from, which decides how a refusal reads: ``credit`` is money paid in advance, counted over ``total``.
    """

    scope: Scope
    scope_id: str
    metric: Metric
    limit: int
    window: str | None = None
    sliding: bool = False
    model: str | None = None
    provider: str | None = None
    source: Source = "limit"
    name: str = ""
    """The plan's or budget's name, for messages."""

    @property
    def key(self) -> str:
        """What its use is counted under, everywhere: two limits with the same key share one count."""
        parts = (self.metric, self.window, self.model, self.provider, self.source)
        rest = "|".join(_escaped(part) for part in parts)
        return self.prefix(self.scope, self.scope_id) + rest + ("|sliding" if self.sliding else "")

    @staticmethod
    def prefix(scope: Scope, scope_id: str) -> str:
        """What the keys of all limits of a scope begin with; it ends in ``|``."""
        return f"{scope}|{_escaped(scope_id)}|"

    @classmethod
    def of_key(cls, key: str) -> LimitPolicy:
        """The limit a key was made of, its number excepted: ``limit`` is 0. Raises :class:`ValueError`."""
        parts = [part.replace("%7C", "|").replace("%25", "%") for part in key.split("|")]
        if len(parts) not in (7, 8):
            raise ValueError(f"{key!r} is not the key of a limit")
        scope, scope_id, metric, window, model, provider, source = parts[:7]
        given: Any = {"scope": scope, "metric": metric, "source": source}
        return cls(
            **given,
            scope_id=scope_id,
            limit=0,
            window=window or None,
            sliding=len(parts) == 8,
            model=model or None,
            provider=provider or None,
        )


def _escaped(part: str | None) -> str:
    return "" if part is None else part.replace("%", "%25").replace("|", "%7C")


class CredentialPolicy(Struct, frozen=True, omit_defaults=True):
    """A credential as the data plane needs it.

    ``models`` empty means every model, ``cidrs`` empty every address. ``inference`` says whether its scopes allow
    calls of models. ``limits`` are all that hold for it: its own, its user's, its organisation's and its plan's.
    """

    id: str
    name: str
    kind: str
    """``api_key``, ``app``, ``jwt`` or ``oidc``."""
    organization: str
    user: str | None = None
    app: str | None = None
    role: str | None = None
    plan: str | None = None
    environment: str | None = None
    status: Status = "active"
    status_reason: str | None = None
    expires_at: float | None = None
    models: tuple[str, ...] = ()
    cidrs: tuple[str, ...] = ()
    inference: bool = True
    limits: tuple[LimitPolicy, ...] = ()


class Resolution(Struct, frozen=True, omit_defaults=True):
    """The answer to "whose credential is this?" as of change ``seq``. ``policy`` is None for an unknown credential."""

    seq: int
    policy: CredentialPolicy | None = None


class Change(Struct, frozen=True, omit_defaults=True):
    """Something the data plane may hold has changed at ``at_ns`` (Unix nanoseconds).

    ``seq`` grows with each change. ``kind`` says what ``id`` is; ``digest`` is the hex SHA-256 of a credential that was
    made, changed or revoked, so that a negative entry goes too. ``pricing`` is a price of the platform, to be asked for
    anew, ``routing`` what the feedback of organization ``id`` taught; ``everything`` empties the cache.
    """

    seq: int
    at_ns: int
    kind: ChangeKind
    id: str
    digest: str | None = None
