"""Models and their targets: where a request for a name may go, in which order."""

from __future__ import annotations

from typing import Final

from gateway.dataplane.hedging import Hedging
from gateway.dataplane.learned.auto import NAME as AUTO
from gateway.dataplane.learned.auto import Auto
from gateway.dataplane.learned.decider import Decider, Learned
from gateway.dataplane.pricing import FREE, rate_of
from gateway.dataplane.shadowing import Mirror
from gateway.dataplane.target import Target
from gateway.dataplane.upstream.pool import Pool
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.known_targets import capabilities_of, told_of
from gateway.settings.learned_checks import has_numpy
from gateway.settings.model import Model, ModelRouting, Price, Settings

UNBOUNDED: Final = 2**53
"""Tokens that fit where no bound is known."""


class Route:
    """A configured model: its targets in order of preference, then its fallbacks'.

    ``single`` is the only target of a model that has nothing to choose, ``sticky`` whether anybody goes by the prompt,
    ``picky`` whether some target lacks what another has or all may be asked for, ``shortest`` the tokens that fit into
    every context, ``resumable`` whether some target can go on with a broken stream.
    """

    __slots__ = (
        "affinity",
        "chain",
        "context_length",
        "drop_params",
        "fallbacks",
        "hedging",
        "learned",
        "learned_fallbacks",
        "mirror",
        "name",
        "picky",
        "recovery",
        "resumable",
        "shortest",
        "single",
        "splits",
        "sticky",
        "strategy",
        "targets",
        "weights",
    )

    def __init__(self, model: Model, targets: tuple[Target, ...]) -> None:
        self.name = model.name
        self.targets = targets
        self.strategy: str = model.strategy
        self.weights = tuple(target.weight for target in model.targets)
        self.affinity = model.affinity == "prompt"
        self.context_length = model.context_length
        self.drop_params = model.drop_params
        self.recovery: str = model.stream_recovery
        self.hedging = Hedging(model.hedge) if model.hedge is not None else None
        self.learned: Decider | None = None
        self.fallbacks: tuple[Route, ...] = ()
        self.learned_fallbacks: tuple[Route, ...] = ()
        self.splits: tuple[tuple[float, str, Route], ...] = ()
        self.mirror: Mirror | None = None
        self.chain: tuple[Route, ...] = (self,)
        self.single: list[Target] | None = None
        self.sticky = False
        self.picky = False
        self.shortest = UNBOUNDED
        self.resumable = False

    def candidates(self, endpoint: str, now: float) -> list[Target]:
        """Every target that may be tried, resting ones last, each once. Empty where none serves this endpoint."""
        single = self.single
        if single is not None and single[0].serves(endpoint):
            return single
        routes = (*(other for _, _, other in self.splits), *self.chain)
        found = list(dict.fromkeys(target for route in routes for target in route.targets if target.serves(endpoint)))
        if len(found) > 1:
            found.sort(key=lambda target: target.ready_at(now))
        return found

    def translates(self, endpoint: str) -> bool:
        """Whether some target serves an endpoint by another API than OpenAI's."""
        routes = (*(other for _, _, other in self.splits), *self.chain)
        return any(
            target.translator is not None and target.serves(endpoint) for route in routes for target in route.targets
        )

    def link(self, model: Model, routes: dict[str, Route]) -> None:
        """Find the other models it names."""
        self.fallbacks = tuple(routes[name] for name in model.fallbacks)
        self.splits = tuple((split.share, split.by, routes[split.model]) for split in model.split)

    def take_over(self, previous: Route) -> None:
        """Go on with what the same model of a configuration before this one has spent and counted."""
        if self.mirror is not None and previous.mirror is not None:
            self.mirror.take_over(previous.mirror)
        if self.hedging is not None and previous.hedging is not None:
            self.hedging.take_over(previous.hedging)

    def complete(self) -> None:
        """Work out what follows from all targets, when every route is linked."""
        self.chain = self._chain()
        self.learned_fallbacks = tuple([route for route in self.chain[1:] if route.strategy == "ml"])
        routes = (*(other for _, _, other in self.splits), *self.chain)
        every = [target for route in routes for target in route.targets]
        self.shortest = min([target.offers.context_length or UNBOUNDED for target in every])
        self.resumable = any(target.prefill != "none" for target in every)
        self.picky = any(_lacks(target) for target in every) or len({target.offers.prefill for target in every}) > 1
        self.sticky = any(
            route.affinity and len(route.targets) > 1 and route.strategy in ("weighted", "least_latency")
            for route in routes
        )
        if self.learned is not None:
            self.picky = True  # what is asked for is looked at in any case
        elif len(every) == 1:
            self.single = every
        for route in routes:
            if self.hedging is not None or (len(route.targets) > 1 and route.strategy in ("weighted", "least_latency")):
                for target in route.targets:
                    target.watched = True

    def _chain(self) -> tuple[Route, ...]:
        seen: dict[str, Route] = {}
        waiting = [self]
        while waiting:
            route = waiting.pop(0)
            if route.name not in seen:
                seen[route.name] = route
                waiting.extend(route.fallbacks)
        return tuple(seen.values())


def _lacks(target: Target) -> bool:
    offers = target.offers
    return not (offers.tools and offers.vision and offers.json_schema)


class Router:
    """The models of one configuration."""

    def __init__(self, routes: dict[str, Route], learned: Learned | None = None, auto: Auto | None = None) -> None:
        self.routes = routes
        self.learned = learned
        self.auto = auto

    def targets(self) -> dict[tuple[str, str], Target]:
        """Every target once, by its provider's name and its model."""
        return {
            (target.provider.name, target.model): target for route in self.routes.values() for target in route.targets
        }

    def take_over(self, previous: Router) -> None:
        """Go on with what a configuration before this one has learned and spent."""
        targets = {target.name: target for route in previous.routes.values() for target in route.targets}
        if self.learned is not None and previous.learned is not None:
            self.learned.take_over(previous.learned)
        for name, route in self.routes.items():
            for target in route.targets:
                if target.name in targets:
                    target.take_over(targets[target.name])
            before = previous.routes.get(name)
            if before is not None:
                route.take_over(before)

    def offered(self, allowed: frozenset[str]) -> list[Route]:
        """What a caller may use, empty for all: the configured models, and ``auto`` where it has a choice."""
        found = [route for name, route in self.routes.items() if not allowed or name in allowed]
        auto = None if self.auto is None or AUTO in self.routes else self.auto.listed(allowed)
        if auto is not None:
            found.append(auto)
        return found

    def find(self, model: str, allowed: frozenset[str]) -> Route:
        """The route of a model. Raises :class:`GatewayError` where it is unknown, or not for this caller."""
        route = self.routes.get(model)
        if route is None and model == AUTO and self.auto is not None:
            route = self.auto.route(allowed)
            if route is not None:
                return route
        if route is None:
            raise not_found(model)
        if allowed and model not in allowed:
            raise GatewayError(
                Kind.FORBIDDEN, "model_not_allowed", f"Your key may not use the model '{model}'.", "model"
            )
        return route


def not_found(model: str) -> GatewayError:
    """The refusal of a model that is not there."""
    message = f"The model '{model[:200]}' does not exist or you do not have access to it."
    return GatewayError(
        Kind.NOT_FOUND, "model_not_found", f"{message} GET /v1/models lists those you can use.", "model"
    )


def router_from(settings: Settings, pools: dict[str, Pool], previous: Router | None = None) -> Router:
    """The routes of the configured models. Models that share a target share its breaker.

    What was learned of targets, and what shadows have spent, is taken over from ``previous``.
    """
    providers = {provider.name: provider for provider in settings.providers}
    prices: dict[tuple[str, str], list[Price]] = {}
    for price in settings.pricing:
        prices.setdefault((price.provider, price.model), []).append(price)
    rates = {key: rate_of(*each, exchange_rates=settings.exchange_rates) for key, each in prices.items()}
    targets: dict[tuple[str, str], Target] = {}
    routes: dict[str, Route] = {}
    learned = Learned(settings.routing.weights)
    for key, told in told_of(settings.models).items():
        provider = providers[told.provider]
        rate = rates.get(key, FREE if provider.kind == "llama_cpp" else None)
        targets[key] = Target(provider, told.model, pools[told.provider], rate, capabilities_of(told, provider))
    for model in settings.models:
        routes[model.name] = Route(model, tuple(targets[named.provider, named.model] for named in model.targets))
    for model in settings.models:
        routes[model.name].link(model, routes)
    for model in settings.models:
        route = routes[model.name]
        own = model.routing or ModelRouting()
        if model.strategy == "ml" or own.shadow:
            route.learned = Decider(learned, own, route.targets, shadow=own.shadow)
            learned.deciders.append(route.learned)
        route.complete()
        if model.shadow is not None:
            route.mirror = Mirror(model.shadow, routes[model.shadow.model], settings.server.workers)
    auto = None
    if settings.routing.auto.enabled and has_numpy():
        auto = Auto(settings.routing.auto, routes, learned, Route)
    router = Router(routes, learned, auto)
    if previous is not None:
        router.take_over(previous)
    return router
