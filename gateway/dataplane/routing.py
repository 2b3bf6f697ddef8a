"""Models and their targets: where a request for a name may go, in which order."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from urllib.parse import quote

from gateway.dataplane.body import raw_string
from gateway.dataplane.breaker import Breaker
from gateway.dataplane.pricing import FREE, Rate, rate_of
from gateway.dataplane.retries import RetryBudget
from gateway.dataplane.upstream.pool import Pool
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.known_targets import Capabilities, capabilities_of
from gateway.settings.model import Model, Provider, Settings

_LOCAL_ENDPOINTS = frozenset(("chat.completions", "completions", "embeddings"))
_SAFE = "/:@+,._-~!$'()*"
_ANYTHING = Capabilities()


class Target:
    """One provider's model, with what a request to it needs ready made."""

    __slots__ = (
        "_logged_at",
        "breaker",
        "budget",
        "header",
        "heads",
        "local",
        "model",
        "model_raw",
        "name",
        "offers",
        "pool",
        "provider",
        "rate",
    )

    def __init__(
        self, provider: Provider, model: str, pool: Pool, rate: Rate | None, offers: Capabilities = _ANYTHING
    ) -> None:
        self.provider = provider
        self.offers = offers
        self.model = model
        self.model_raw = raw_string(model)
        self.pool = pool
        self.rate = rate
        self.local = provider.kind == "llama_cpp"
        self.name = f"{provider.name}/{model}"
        self.header = b"x-gateway-target: " + quote(self.name, safe=_SAFE).encode() + b"\r\n"
        self.heads: dict[bytes, bytes] = {}
        self.breaker = Breaker(provider.breaker)
        self.budget = RetryBudget(provider.retry.budget)
        self._logged_at = 0.0

    def head_for(self, path: bytes) -> bytes:
        """The request line and the headers that never change, for an endpoint's path."""
        head = self.heads.get(path)
        if head is None:
            head = self.heads[path] = self._build_head(path)
        return head

    def _build_head(self, path: bytes) -> bytes:
        lines = [
            b"POST " + self.pool.request_target_prefix.encode() + path + b" HTTP/1.1",
            b"host: " + self.pool.origin.host_header.encode(),
            b"accept-encoding: identity",
        ]
        if self.provider.api_key is not None:
            lines.append(b"authorization: Bearer " + self.provider.api_key.encode())
        lines += [f"{name.lower()}: {value}".encode() for name, value in self.provider.headers.items()]
        return b"\r\n".join(lines) + b"\r\n" + self.pool.proxy_headers

    def serves(self, endpoint: str) -> bool:
        """Whether requests of this kind may go here."""
        return not self.local or endpoint in _LOCAL_ENDPOINTS

    def log_is_due(self, now: float) -> bool:
        """Whether a failure at loop time ``now`` is worth a line in the log: at most one a second is."""
        is_due = now >= self._logged_at + 1.0
        if is_due:
            self._logged_at = now
        return is_due


class Route:
    """A configured model: its targets in order of preference, then its fallbacks'."""

    __slots__ = ("_single", "context_length", "fallbacks", "name", "targets", "weights")

    def __init__(self, model: Model, targets: tuple[Target, ...]) -> None:
        self.name = model.name
        self.targets = targets
        self.weights = tuple(target.weight for target in model.targets) if model.strategy == "weighted" else ()
        self.context_length = model.context_length
        self.fallbacks: tuple[Route, ...] = ()
        self._single = list(targets) if len(targets) == 1 else None

    def ordered(self) -> list[Target]:
        """This model's own targets for one request: as listed, or drawn by weight without replacement."""
        if not self.weights:
            return list(self.targets)
        drawn = sorted(((_draw(weight), index) for index, weight in enumerate(self.weights)), reverse=True)
        return [self.targets[index] for _, index in drawn]

    def candidates(self, endpoint: str, now: float) -> list[Target]:
        """Every target to try, resting ones last, each once. Empty where none serves this endpoint."""
        if self._single is not None and not self.fallbacks and self._single[0].serves(endpoint):
            return self._single
        found = [target for route in self._chain() for target in route.ordered() if target.serves(endpoint)]
        if len(found) > 1:
            found = list(dict.fromkeys(found))
            found.sort(key=lambda target: target.breaker.rests_until(now))
        return found

    def _chain(self) -> Iterator[Route]:
        seen: set[str] = set()
        waiting = [self]
        while waiting:
            route = waiting.pop(0)
            if route.name not in seen:
                seen.add(route.name)
                yield route
                waiting.extend(route.fallbacks)


def _draw(weight: float) -> float:
    # Efraimidis & Spirakis 2006, "Weighted random sampling with a reservoir": the largest u^(1/w) first. Its logarithm
    # keeps the order and does not underflow where weights are small.
    return -random.expovariate(1.0) / weight if weight > 0 else -math.inf


class Router:
    """The models of one configuration."""

    def __init__(self, routes: dict[str, Route]) -> None:
        self.routes = routes

    def find(self, model: str, allowed: frozenset[str]) -> Route:
        """The route of a model. Raises :class:`GatewayError` where it is unknown, or not for this caller."""
        route = self.routes.get(model)
        if route is None:
            raise GatewayError(
                Kind.NOT_FOUND,
                "model_not_found",
                f"The model '{model[:200]}' does not exist or you do not have access to it."
                " GET /v1/models lists those you can use.",
                "model",
            )
        if allowed and model not in allowed:
            raise GatewayError(
                Kind.FORBIDDEN, "model_not_allowed", f"Your key may not use the model '{model}'.", "model"
            )
        return route


def router_from(settings: Settings, pools: dict[str, Pool]) -> Router:
    """The routes of the configured models. Models that share a target share its breaker."""
    providers = {provider.name: provider for provider in settings.providers}
    rates = {(price.provider, price.model): rate_of(price) for price in settings.pricing}
    targets: dict[tuple[str, str], Target] = {}
    routes: dict[str, Route] = {}
    for model in settings.models:
        for named in model.targets:
            key = (named.provider, named.model)
            if key not in targets:
                provider = providers[named.provider]
                rate = rates.get(key, FREE if provider.kind == "llama_cpp" else None)
                targets[key] = Target(
                    provider, named.model, pools[named.provider], rate, capabilities_of(named, provider)
                )
        routes[model.name] = Route(model, tuple(targets[named.provider, named.model] for named in model.targets))
    for model in settings.models:
        routes[model.name].fallbacks = tuple(routes[name] for name in model.fallbacks)
    return Router(routes)
