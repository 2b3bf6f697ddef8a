"""What a user did: the requests of theirs in the ledger, and what they tell of themselves."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, structs
from sqlalchemy import func

from gateway.domain.analytics import entries
from gateway.domain.analytics.periods import to_ns
from gateway.domain.analytics.service import EntryPage, Reader
from gateway.domain.fields import text
from gateway.domain.ledger import entering
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.query import Filter, NewUsage
from gateway.domain.ledger.reporting import Report, Reporting
from gateway.domain.pricing.book import PriceBook
from gateway.domain.users import repo as users
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.ids import new_id

CALL = "api_call"
"""The type of event that a request through the gateway is."""
READ, WRITE = "api:read", "api:write"
_NOBODY = "unknown"


class NewActivity(Struct, frozen=True, kw_only=True):
    """An event. Where it has a model, tokens or a cost, it is usage. ``cost_nanos`` None: the price list decides."""

    event_type: str
    data: dict[str, Any]
    metadata: dict[str, Any]
    model: str | None = None
    provider: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nanos: int | None = None

    @property
    def is_usage(self) -> bool:
        """Whether it belongs into the sums."""
        return self.model is not None or bool(self.prompt_tokens or self.completion_tokens or self.cost_nanos)


class ActivityService:
    """What can be told and asked of activity, within one work."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def mine(self, wanted: Filter = Filter()) -> Filter:  # noqa: B008 - immutable
        """The filter, of what the actor may see: a user their own, a key of nobody's its organisation's."""
        actor = self.work.actor
        confined = Reader(self.work, READ).confined(wanted)
        if actor.user is None or actor.is_platform_admin:
            return confined
        return structs.replace(confined, users=(actor.user,))

    async def log(self, new: NewActivity, book: PriceBook) -> str:
        """Keep an event; gives its id. Needs ``api:write``: it is of the caller themselves, usage too.

        Raises FORBIDDEN, also for who has no organisation, and INVALID.
        """
        actor = self.work.actor
        if actor.organization is None:
            message = "This needs a credential that belongs to an organization."
            raise GatewayError(Kind.FORBIDDEN, "insufficient_permissions", message)
        actor.require(WRITE, actor.organization)
        event_type = text(new.event_type, "event_type", longest=100)
        details: dict[str, Any] = {"event_type": event_type, "event_data": new.data, "metadata": new.metadata}
        if not new.is_usage:
            return await self._kept(actor.organization, event_type, details)
        model = new.model or _NOBODY
        maker, slash, _ = model.partition("/")
        usage = NewUsage(
            organization=actor.organization,
            provider=new.provider or (maker if slash and maker else _NOBODY),
            model=model,
            started_ns=to_ns(self.work.now),
            prompt_tokens=new.prompt_tokens,
            completion_tokens=new.completion_tokens,
            cost_nanos=new.cost_nanos,
            user=actor.user,
            credential=actor.id,
            endpoint=event_type,
            metadata=details,
        )
        (result,) = await Reporting(self.work, book, WRITE).record([Report(usage)])
        if isinstance(result, GatewayError):
            raise result
        return result.id

    async def history(self, wanted: Filter, event_type: str | None, *, limit: int, offset: int) -> EntryPage:
        """A page of events, the newest first. ``event_type`` is :data:`CALL` for the gateway's own."""
        told = func.coalesce(LedgerEntry.details["event_type"].as_string(), CALL) == event_type
        return await Reader(self.work, READ).page(
            structs.replace(self.mine(wanted), kinds=entries.ALL_ACTIVITY),
            also=() if event_type is None else (told,),
            limit=limit,
            offset=offset,
        )

    async def _kept(self, organization: str, event_type: str, details: dict[str, Any]) -> str:
        actor, at, row = self.work.actor, to_ns(self.work.now), entering.blank()
        numbers = ("requests", "saved_nanos", "prompt_tokens", "cached_tokens", "cache_write_tokens",
                   "completion_tokens", "reasoning_tokens", "cost_nanos")  # fmt: skip
        row |= dict.fromkeys(numbers, 0)
        row |= {
            "id": new_id("activity"), "kind": "activity", "source": "api", "organization": organization,
            "user": actor.user, "credential": actor.id, "model": "", "requested_model": "", "endpoint": event_type,
            "started_ns": at, "ended_ns": at, "recorded_ns": at, "outcome": "ok", "estimated": False, "stream": False,
            "metadata": details,
        }  # fmt: skip
        await entering.enter(self.work.session, [row])
        return str(row["id"])


async def user_of(work: Work, reference: str) -> str:
    """The id of a user by id, number or ``user_<number>``; what names nobody comes back as it is."""
    found = await users.by_reference(work.session, reference)
    return reference if found is None else found.id
