"""A request's targets in the order of a learned route's decision, which its headers and its usage event tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.contract.learned_routes import Decision
from gateway.dataplane import body as bodies
from gateway.dataplane.learned.auto import NAME as AUTO
from gateway.dataplane.learned.prompts import prompt_of
from gateway.dataplane.learned.question import Question
from gateway.dataplane.learned.telling import lines_of, result_of
from gateway.dataplane.learned.wishes import FIELD, NONE, Wish, spelt, wish_of
from gateway.dataplane.needs import Needs
from gateway.kernel.errors import GatewayError
from gateway.routing.request import Ask

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.learned.decider import Decider
    from gateway.dataplane.learned.question import Chosen
    from gateway.dataplane.routing import Route
    from gateway.dataplane.target import Target
    from gateway.settings.model import Weighing


class Choice:
    """What one request wants, and what was decided: nothing yet while ``order`` is empty."""

    __slots__ = ("allowed", "decision", "order", "wish")

    def __init__(self, wish: Wish, allowed: frozenset[str] = frozenset()) -> None:
        self.wish = wish
        self.allowed = allowed  # the models that are chosen from, where that goes by the key; empty for all
        self.order: list[Target] = []
        self.decision: Decision | None = None

    @property
    def spelt(self) -> str:
        """What may part one decision from another beside the prompt, as a text; empty where nothing does."""
        allowed = f"{sorted(self.allowed)}" if self.allowed else ""
        return allowed if self.wish is NONE else f"{spelt(self.wish)}{allowed}"


def note_wish(exchange: Exchange) -> None:
    """Take what the client wants out of a request for a learned route, once. Raises :class:`GatewayError` (INVALID)."""
    if exchange.choice is not None or not exchange.spec.generates:
        return
    fields = exchange.fields
    wanted = None if fields is None else fields.pop(FIELD, None)
    if wanted is not None and fields is not None:
        exchange.raw = bodies.encode(fields)
    caller = exchange.caller
    allowed = caller.models if caller is not None and exchange.model == AUTO else frozenset()
    exchange.choice = Choice(wish_of(exchange.raw_headers, wanted), allowed)


def note_wish_early(exchange: Exchange) -> None:
    """The same before the model's route was looked up. Raises as :meth:`Router.find`."""
    caller = exchange.caller
    assert caller is not None
    if exchange.runtime.router.find(exchange.model, caller.models).learned is not None:
        note_wish(exchange)


async def prepare(exchange: Exchange, decider: Decider) -> None:
    """Have ready what deciding takes. Raises :class:`GatewayError`."""
    note_wish(exchange)
    if decider.offered is None and exchange.choice is not None:
        await exchange.before_waiting()
        await decider.ready()
        exchange.check()


def decided(exchange: Exchange, route: Route, usual: list[Target], now: float) -> list[Target]:
    """A route's own targets: in the order of the decision, or as ``usual`` where it is only watched.

    Raises :class:`GatewayError` that names the constraint which no target meets.
    """
    choice, decider = exchange.choice, route.learned
    if choice is None or decider is None or decider.offered is None:
        return usual
    if not choice.order:
        able = [target for target in usual if target.serves(exchange.endpoint)]
        needs = Needs(exchange)
        able = [target for target in able if not needs.lacking(target.offers)]
        # Where it is likely to fit nowhere, those with the longest context are tried all the same.
        able = [target for target in able if needs.fits(target.offers)] or able
        if not able:
            return usual  # the refusal of what is asked for is another's
        try:
            chosen = _choose(exchange, decider, decider.weighing, choice.wish, able, needs.likely, now)
        except GatewayError as error:
            if decider.shadow:
                return usual
            error.field = f"{FIELD}.{(error.field or '').rpartition('.')[2]}"
            raise
        _note(exchange, choice, decider, chosen, usual)
    return list(choice.order)


def _choose(
    exchange: Exchange,
    decider: Decider,
    weighing: Weighing,
    wish: Wish,
    able: list[Target],
    prompt_tokens: int,
    now: float,
) -> Chosen:
    offered = decider.offered
    assert offered is not None
    places: list[int] = []
    resting: list[int] = []
    for target in able:
        (places if target.ready_at(now) <= now else resting).append(decider.places[target])
    fields = exchange.fields or {}
    ask = Ask(
        prompt=prompt_of(fields.get("messages") or fields.get("input") or fields.get("prompt")),
        optimize_for=wish.goal or weighing.optimize_for,
        constraints=wish.constraints,
        prompt_tokens=prompt_tokens,
        max_tokens=exchange.max_tokens,
    )
    lessons = exchange.wire.worker.taught.of(exchange.organization)
    return offered.choose(Question(exchange.id, ask, weighing, lessons, places, resting, exchange.organization))


def _note(exchange: Exchange, choice: Choice, decider: Decider, chosen: Chosen, usual: list[Target]) -> None:
    choice.order, choice.decision = chosen.order, chosen.told
    if decider.shadow:
        choice.order = usual
        choice.decision = replace(chosen.told, shadow=True)
    best = chosen.order[0]
    exchange.wire.worker.metrics.decided(exchange.model, best.provider.name, best.model, result_of(choice.decision))
    # Beside the rate headers: what every answer of this request has, errors too.
    exchange.rate_lines += lines_of(choice.decision, is_priced=best.rate is not None)


def order_fallback(exchange: Exchange, route: Route, targets: list[Target], begin: int, now: float) -> None:
    """Let a fallback with a learned route decide when its first target is reached, at place ``begin``; else nothing.

    Where no target meets what the client wants they stay as they are listed. It is neither told nor recorded: the
    request's own model has decided what is, and nothing is explored.
    """
    if begin >= len(targets):
        return
    for fallback in route.learned_fallbacks:
        if targets[begin] in fallback.targets and (not begin or targets[begin - 1] not in fallback.targets):
            decider = fallback.learned
            if decider is None or decider.offered is None or decider.shadow:
                return
            where = [at for at in range(begin, len(targets)) if targets[at] in decider.places]
            able = [targets[at] for at in where]
            wish = NONE if exchange.choice is None else exchange.choice.wish
            weighing = replace(decider.weighing, exploration=0.0)
            try:
                chosen = _choose(exchange, decider, weighing, wish, able, Needs(exchange).likely, now)
            except GatewayError:
                return
            order = [*chosen.order, *(target for target in able if target not in chosen.order)]
            for at, target in zip(where, order, strict=True):
                targets[at] = target
            return


def permitted(exchange: Exchange, targets: list[Target]) -> list[Target]:
    """Without the targets of fallbacks whose providers the client does not want; these are not weighed."""
    choice = exchange.choice
    if choice is None or choice.wish is NONE or choice.decision is None or choice.decision.shadow:
        return targets
    wanted, unwanted = choice.wish.constraints.preferred_providers, choice.wish.constraints.exclude_providers
    kept = []
    for target in targets:
        provider = target.provider.name.lower()
        if provider not in unwanted and (not wanted or provider in wanted):
            kept.append(target)
    return kept
