"""Targets as the router knows them, and the decision among them. The one module here that needs NumPy.

A target whose price nobody knows counts as the dearest of those that are known; where a request may cost only so much
it is left out. A price that goes by the size of a prompt counts as it is for the prompt's, one by hour as it is now.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.contract.learned_routes import Decision
from gateway.contract.learned_routes import Estimate as Told
from gateway.dataplane.learned.exploring import Explored, explore, hopeful
from gateway.dataplane.learned.observed import ENOUGH, Observed
from gateway.dataplane.learned.question import Chosen, Question
from gateway.dataplane.learned.taught import Lessons
from gateway.dataplane.pricing import Pricing, Schedule
from gateway.kernel.errors import GatewayError
from gateway.kernel.rates import NANOS, rate_for
from gateway.routing import default, weights
from gateway.routing.candidates import UNPRICED
from gateway.routing.confidence import confidence
from gateway.routing.costs import prompt_tokens
from gateway.routing.decision import rank
from gateway.routing.estimates import Candidate, Estimate, Quality, View
from gateway.routing.model import Model, tier_of
from gateway.routing.panel import Panel

if TYPE_CHECKING:
    from gateway.dataplane.target import Target

MOST: Final = 256
"""Prompts that are kept, of at most :data:`LONGEST` characters each: a megabyte; the oldest goes first."""
LONGEST: Final = 4_096
REPRICED: Final = 60.0
"""Seconds after which prices that change with the time are looked at again."""
_UNKNOWN_TIER: Final = "medium"
_EDGE: Final = 1e-6


def load(path: str | None) -> Model:
    """The weights of a folder; of the package for None. Raises :class:`~gateway.routing.weights.WeightsFault`."""
    return default.load() if path is None else weights.load(Path(path))


class Prices(NamedTuple):
    """US dollars per million tokens."""

    input: float
    cached: float
    output: float


class Moved(NamedTuple):
    """What was learnt of a target: by how much the logit of its quality is moved, on how many observations, and what
    the tokens of its answers are multiplied by.
    """

    shift: float
    weight: float
    length: float


NOTHING: Final = Moved(0.0, 0.0, 1.0)


class Offered:
    """Some targets, ready to be chosen from. Used by one thread."""

    __slots__ = ("_by_size", "_candidates", "_learned", "_looked_at", "_model", "_oldest", "_panel", "_prices",
                 "_rates", "_sizes", "_versions", "_viewed", "_views", "_where", "targets")  # fmt: skip

    def __init__(self, model: Model, targets: Sequence[Target]) -> None:
        self._model = model
        self.targets = tuple(targets)
        for target in self.targets:
            if target.seen is None:
                target.seen = Observed()
        self._learned: list[str] = []
        self._panel: Panel | None = None
        self._where: list[int] = []
        self._views: dict[tuple[str, str], View] = {}
        self._viewed: list[tuple[str, str]] = []  # the keys of _views, in a ring
        self._oldest = 0
        self._reprice(time.monotonic())

    def choose(self, asked: Question) -> Chosen:
        """Decide. Raises :class:`GatewayError` that names the constraint which no target meets."""
        candidates = self._current()
        if self._sizes:
            candidates = self._of_size(candidates, prompt_tokens(asked.ask))
        view = self._view(asked.organization, asked.ask.prompt)
        qualities = view.qualities
        known = [qualities[where] for where in self._where]
        if asked.ask.constraints.max_cost is not None and None in self._prices:
            candidates = [
                one if price is not None else one.replaced(input_price=UNPRICED, output_price=UNPRICED)
                for one, price in zip(candidates, self._prices, strict=True)
            ]
        if not asked.places:
            return self._among(asked, asked.resting, candidates, view.task, known)
        try:
            chosen = self._among(asked, asked.places, candidates, view.task, known)
        except GatewayError:
            if not asked.resting:
                raise
            return self._among(asked, (*asked.places, *asked.resting), candidates, view.task, known)
        if asked.resting:
            try:
                later = self._among(asked, asked.resting, candidates, view.task, known)
            except GatewayError:
                return chosen
            chosen.order.extend(later.order)
        return chosen

    def _view(self, organization: str, prompt: str) -> View:
        """What is expected of all targets. An agent asks again and again under one message of its user's, so it is kept
        for a while; by organization, so that nobody can tell by the time it takes what others ask.
        """
        key = (organization, prompt)
        view = self._views.get(key)
        if view is None:
            panel = self._panel
            assert panel is not None
            view = panel(prompt)
            if len(prompt) <= LONGEST:
                viewed = self._viewed
                if len(viewed) < MOST:
                    viewed.append(key)
                else:
                    del self._views[viewed[self._oldest]]
                    viewed[self._oldest] = key
                    self._oldest = (self._oldest + 1) % MOST
                self._views[key] = view
        return view

    def _among(
        self, asked: Question, places: Sequence[int], candidates: list[Candidate], task: str, known: list[Quality]
    ) -> Chosen:
        lessons = asked.lessons
        offered = [candidates[place] for place in places]
        if lessons.timings:
            offered = [
                self._as_told(one, self.targets[place], lessons) for one, place in zip(offered, places, strict=True)
            ]
        qualities = [known[place] for place in places]
        moved: dict[str, Moved] = {}
        if not lessons.plain:
            for at, one in enumerate(offered):
                by = Moved(*lessons.shift(one.name, task), lessons.length(one.name))
                if by != NOTHING:
                    moved[one.name] = by
                    qualities[at] = _taught(qualities[at], by)
        ranked, _ = rank(qualities, offered, asked.ask)
        return self._settled(asked, places, ranked, task, moved)

    def _settled(
        self, asked: Question, places: Sequence[int], ranked: list[Estimate], task: str, moved: dict[str, Moved]
    ) -> Chosen:
        """The ranking with the fixed choice, or an explored one, before all."""
        fixed = asked.lessons.fixed
        usual = 0 if fixed is None else next((at for at, one in enumerate(ranked) if one.name == fixed), 0)
        best, (place, propensities) = _taken(asked, ranked, usual, task)
        sure = confidence([ranked[place], ranked[0]] if place else ranked)
        if place:
            ranked.insert(0, ranked.pop(place))
            propensities.insert(0, propensities.pop(place))
        targets, estimates, order = self.targets, [], []
        for at, one in enumerate(ranked):
            order.append(targets[places[one.place]])
            one.quality = quality = _short(one.quality)
            one.seconds = seconds = _short(one.seconds)
            tokens, chance = int(one.tokens + 0.5), propensities[at]
            by = moved.get(one.name) if moved else None
            if by is None:
                estimates.append(Told(one.name, quality, one.nanos, seconds, chance, tokens))
            else:
                estimates.append(Told(one.name, quality, one.nanos, seconds, chance, tokens, by.shift, by.length))
        told = Decision(
            ranked[0].name, task, asked.ask.optimize_for, _short(sure), tuple(estimates), place != usual,
            False, fixed is not None and place == best and ranked[0].name == fixed,
        )  # fmt: skip
        return Chosen(order, told, ranked)

    # what is known of the targets

    def _current(self) -> list[Candidate]:
        now = time.monotonic()
        rates, versions = self._rates, self._versions
        stale = now >= self._looked_at
        for place, target in enumerate(self.targets):
            if target.rate is not rates[place]:
                stale = True
            seen = target.seen
            if seen is not None and seen.version != versions[place]:
                self._candidates[place] = self._candidate(place)
        if stale:
            self._reprice(now)
        return self._candidates

    def _reprice(self, now: float) -> None:
        self._rates = [target.rate for target in self.targets]
        changing = any(isinstance(rate, Schedule) for rate in self._rates)
        self._looked_at = now + REPRICED if changing else math.inf
        self._prices = [prices_of(target) for target in self.targets]
        self._sizes = sizes_of(self._rates) if changing else []
        self._by_size: dict[int, list[Prices | None]] = {}
        names = [
            self._model.match(target.model) or (_UNKNOWN_TIER if price is None else tier_of(price.output))
            for target, price in zip(self.targets, self._prices, strict=True)
        ]
        if names != self._learned:
            self._learned = names
            different = list(dict.fromkeys(names))
            self._panel = Panel(self._model, different)
            self._views.clear()
            self._viewed.clear()
            self._oldest = 0
            self._where = [different.index(name) for name in names]
        self._versions = [-1] * len(self.targets)
        self._candidates = [self._candidate(place) for place in range(len(self.targets))]

    def _candidate(self, place: int) -> Candidate:
        seen = self.targets[place].seen
        assert seen is not None
        self._versions[place] = seen.version
        return self._made(place, self._prices)

    def _of_size(self, candidates: list[Candidate], prompt: int) -> list[Candidate]:
        """The candidates at the prices of a prompt of so many tokens."""
        sizes = self._sizes
        band = bisect_left(sizes, prompt)  # of its very size the lower rates hold
        if not band:
            return candidates
        prices = self._by_size.get(band)
        if prices is None:
            prices = self._by_size[band] = [prices_of(target, sizes[band - 1] + 1) for target in self.targets]
        return [self._made(place, prices) for place in range(len(candidates))]

    def _made(self, place: int, prices: list[Prices | None]) -> Candidate:
        target = self.targets[place]
        seen = target.seen
        assert seen is not None
        price = prices[place]
        if price is None:
            known = [each for each in prices if each is not None]
            price = max(known, key=lambda each: each.input + each.output) if known else Prices(0.0, 0.0, 0.0)
        return Candidate(
            name=target.name,
            provider=target.provider.name.lower(),
            learned=self._learned[place],
            input_price=price.input + seen.cached * (price.cached - price.input),
            output_price=price.output,
            first_token=seen.first_token,
            per_token=seen.per_token,
            spread=seen.spread,
        )

    def _as_told(self, candidate: Candidate, target: Target, lessons: Lessons) -> Candidate:
        """With the times that were told, as long as little was seen here."""
        timing, seen = lessons.timings.get(target.name), target.seen
        if timing is None or seen is None or seen.count >= ENOUGH:
            return candidate
        return candidate.replaced(
            first_token=timing.first_token, per_token=timing.per_token, spread=max(1.0, timing.spread)
        )


def _taken(asked: Question, ranked: list[Estimate], usual: int, task: str) -> tuple[int, Explored]:
    """The best choice, which is ``usual`` but where more can be hoped of another, and the place that is explored."""
    lessons, by = asked.lessons, asked.weighing
    qualities = [one.quality for one in ranked]
    if not lessons.doubt or by.exploration <= 0.0:
        return usual, explore(qualities, usual, by.exploration, by.margin, asked.id)
    doubts = [lessons.doubt_of(one.name, task) for one in ranked]
    # A fixed choice that differs from what was learnt stands; one that doesn't keeps nothing from being tried.
    best = usual or hopeful(qualities, [one.utility for one in ranked], doubts, by.margin)
    return best, explore(qualities, best, by.exploration, by.margin, asked.id)


def _short(number: float) -> float:
    """A number from 0 up to six places: six times as fast as :func:`round`."""
    return int(number * 1e6 + 0.5) / 1e6


def prices_of(target: Target, prompt: int = 0) -> Prices | None:
    """What a target costs now, with a prompt of so many tokens; None where nobody knows."""
    rate = target.rate
    if rate is None:
        return None
    if not isinstance(rate, Schedule):
        return Prices(rate.input / 1e6, rate.cached_input / 1e6, rate.output / 1e6)
    found = rate.rates(prompt, time.time())
    if found is None:
        return None
    rates, fx_rate = found
    dollars = [rate_for(rates, kind) * fx_rate / (NANOS * 1e9) for kind in ("input", "cached_input", "output")]
    return Prices(*dollars)


def sizes_of(rates: Sequence[Pricing | None]) -> list[int]:
    """The sizes of prompts, in tokens, above which any of these prices is another one now; the lowest first."""
    now = time.time()
    return sorted({size for rate in rates if isinstance(rate, Schedule) for size in rate.sizes(now)})


def _taught(quality: Quality, by: Moved) -> Quality:
    """What is expected of a target once the organization's feedback is counted in."""
    if not by.weight:
        return Quality(quality.probability, quality.error, quality.tokens * by.length)
    before = min(max(quality.probability, _EDGE), 1.0 - _EDGE)
    after = 1.0 / (1.0 + math.exp(-(math.log(before / (1.0 - before)) + by.shift)))
    known = before * (1.0 - before) / max(quality.error * quality.error, 1e-12)  # as many observations as it is worth
    return Quality(after, math.sqrt(after * (1.0 - after) / (known + by.weight)), quality.tokens * by.length)
