"""The limits on requests that reach no model: what a credential may ask of the sidecar, and what it is told of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from msgspec import structs

from gateway.contract.windows import window_bounds
from gateway.dataplane.admission.limiter import CounterSet, Grant, Shortage, settle
from gateway.dataplane.auth import Credential, check, secret_in
from gateway.dataplane.forward import Passage
from gateway.dataplane.forwarding import Asked, Headers
from gateway.dataplane.plans import plans_of
from gateway.kernel.errors import GatewayError, Kind, LimitDetails, Upgrade
from gateway.kernel.money import to_nanos
from gateway.settings.model import Plan, Settings

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker

# Where a credential may come as ``?token=``: browsers set no headers on WebSocket (LLM Cost Ops, "WebSocket API").
_BY_QUERY = frozenset(("/v1/stream",))
_LEFT_TO_THE_SIDECAR = frozenset((Kind.UNAUTHENTICATED, Kind.SUSPENDED))


class Limits:
    """A :data:`gateway.dataplane.forward.Gate`. Requests without a credential that is known here pass: the sidecar
    knows which paths need none, and says in the reference's own words what is wrong with one.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def __call__(self, request: Asked) -> Passage:
        try:
            caller = await self._caller(request)
            if caller is None:
                return Passage()
            if caller.guarded:
                check(caller, request.client or None, self._worker.runtime.credentials.environment)
        except GatewayError as error:
            return Passage() if error.kind in _LEFT_TO_THE_SIDECAR else Passage(error)
        runtime = self._worker.runtime
        counters = caller.limiter.for_requests(runtime.shared)
        if not counters.all:
            return Passage()
        try:
            grant = await self._admit(counters)
        except GatewayError as error:
            return Passage(with_upgrades(error, self._worker.runtime.settings), _headers(counters))
        return Passage(headers=_headers(counters), done=lambda: settle(grant, 0, 0))

    async def _admit(self, counters: CounterSet) -> Grant:
        try:
            return counters.admit(0, 0, time.time())
        except Shortage as shortage:
            lender = self._worker.runtime.lender
            assert lender is not None
            return await lender.admit(shortage)

    async def _caller(self, request: Asked) -> Credential | None:
        secret = _secret(request)
        if secret is None:
            return None
        found = self._worker.runtime.credentials.find(secret)
        if found is None and self._worker.learnt is not None:
            found = await self._worker.learnt.ask(secret)
        return found


def with_upgrades(error: GatewayError, settings: Settings) -> GatewayError:
    """An error that names the caller's tier, and the plans which allow more of what was refused."""
    details = error.details
    if details is not None and details.plan is not None:
        plans = plans_of(settings)
        tier = next((plan.tier for plan in plans if plan.name == details.plan), None)
        error.details = structs.replace(details, upgrades=upgrades(details, plans), tier=details.tier or tier)
    return error


def upgrades(details: LimitDetails, plans: list[Plan]) -> tuple[Upgrade, ...]:
    """The plans that allow more of what ``details`` refused, those of the least price first, those without one last.

    Only plans that an API lists beside the caller's own: an app is offered tiers of apps.
    """
    found = []
    listed = next((plan.catalogs for plan in plans if plan.name == details.plan), ())
    for plan in plans:
        if plan.name == details.plan or plan.price == 0:
            continue
        if listed and plan.catalogs and set(listed).isdisjoint(plan.catalogs):
            continue
        limits = [limit for limit in plan.limits if (limit.metric, limit.window) == (details.metric, details.window)]
        most = min((limit.limit for limit in limits), default=float("inf"))
        if most > details.limit:
            monthly = None if plan.price is None else round(to_nanos(plan.price) * _months(plan.interval))
            allowed = "without limit" if most == float("inf") else f"{most:,.0f}"
            per = f" per {details.window}" if details.window is not None else ""
            benefits = plan.benefits or (f"{details.metric}{per}: {allowed}", *plan.features)
            found.append(Upgrade(plan.name, monthly, benefits, plan.tier))
    return tuple(sorted(found, key=lambda upgrade: upgrade.price if upgrade.price is not None else float("inf")))


def _months(interval: str) -> float:
    """By what a price per interval is multiplied to be one per month."""
    if interval in ("month", "once"):
        return 1.0
    begins, ends = window_bounds(interval, 0.0)
    return (365.0 / 12) * 86_400 / (ends - begins)


def _secret(request: Asked) -> bytes | None:
    try:
        secret = secret_in(request.headers)
    except GatewayError:
        return None  # another scheme, which some path of the sidecar may take
    if not secret and request.path in _BY_QUERY:
        query = request.target.partition(b"?")[2]
        secret = dict(parse_qsl(query)).get(b"token", b"")
    return secret or None


def _headers(counters: CounterSet) -> Headers:
    lines = counters.rate_lines().split(b"\r\n")
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines) if name]
