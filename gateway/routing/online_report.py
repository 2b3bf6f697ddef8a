"""What a router was worth, by what came of its decisions: against always taking one target, and against chance.

Of each decision the probabilities of its candidates were logged. What another policy would have come to is told doubly
robustly: what was expected of its choices, and where such a choice was made, how far that was off, over the probability
that it was made (no more than ``CLIP`` times). Beside it stands the self-normalised mean of what was found, weighted
by the same ratio (SNIPS), which expects nothing. Intervals hold 95 of 100 samples of the decisions (bootstrap).

The *shuffled* control hands out the same choices, as often as they were made, at random among the same decisions: what
it saves too, is saved by mixing and not by knowing anything of prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from gateway.contract.learned_routes import Estimate

Floats = NDArray[np.float64]
CLIP: Final = 20.0
SAMPLES: Final = 400
LEAST: Final = 100
"""Decisions with an outcome below which nothing is claimed."""
LEAST_EFFECTIVE: Final = 30.0
"""The same of the effective sample size: how many decisions of a policy's own the weighted ones come to."""
SAME: Final = 0.02
"""Qualities this near are the same."""


class Logged(Struct, frozen=True):
    """A decision and what came of it: ``target`` answered, which had the probability ``propensity``; None is unknown.

    ``quality`` is 0 to 1, ``cost_nanos`` nano-dollars.
    """

    target: str
    propensity: float
    estimates: tuple[Estimate, ...]
    quality: float | None = None
    cost_nanos: float | None = None
    seconds: float | None = None


class Interval(Struct, frozen=True):
    """A value and the bounds of its interval."""

    value: float
    low: float
    high: float


class Value(Struct, frozen=True):
    """What a policy comes to, over ``decisions`` it could have made; None where nothing is known.

    ``quality_seen`` is by the self-normalised mean. ``effective`` is the effective sample size of the qualities.
    """

    name: str
    decisions: int
    told: int
    quality: Interval | None
    quality_seen: float | None
    cost_nanos: Interval | None
    seconds: Interval | None
    effective: float
    is_enough: bool


class Claim(Struct, frozen=True):
    """The router against always taking ``target``, and the shuffled control against it. ``saved`` are shares of its
    cost, ``quality`` differences to its quality, ``known`` how much better the router's is than the control's."""

    target: str
    decisions: int
    saved: Interval
    quality: Interval
    shuffled_saved: Interval
    shuffled_quality: Interval
    known: Interval
    is_enough: bool
    verdict: str


class Report(Struct, frozen=True):
    """Values of the router (first), of the shuffled control and of each fixed target, and claims against these."""

    decisions: int
    told: int
    policies: tuple[Value, ...]
    claims: tuple[Claim, ...]


class _Table:
    """Decisions as arrays: by decision and target what was expected and what is a candidate."""

    def __init__(self, logged: Sequence[Logged]) -> None:
        self.targets = sorted({each.target for one in logged for each in one.estimates})
        places = {name: place for place, name in enumerate(self.targets)}
        shape = (len(logged), len(self.targets))
        self.able = np.zeros(shape, bool)
        self.expected = {name: np.zeros(shape) for name in ("quality", "cost_nanos", "seconds")}
        for row, one in enumerate(logged):
            for each in one.estimates:
                place = places[each.target]
                self.able[row, place] = True
                for name, values in self.expected.items():
                    values[row, place] = getattr(each, name)
        self.action = np.array([places.get(one.target, -1) for one in logged], np.int64)
        self.propensity = np.array([max(one.propensity, 1e-9) for one in logged])
        self.found = {
            name: np.array([np.nan if getattr(one, name) is None else float(getattr(one, name)) for one in logged])
            for name in self.expected
        }
        rows = np.arange(len(logged))
        self.matched = (self.action >= 0) & self.able[rows, np.maximum(self.action, 0)]

    def always(self, target: str) -> Floats:
        """The probabilities of a fixed choice."""
        chosen = np.zeros(self.able.shape)
        chosen[:, self.targets.index(target)] = 1.0
        return chosen * self.able

    def shuffled(self, rows: NDArray[np.bool_]) -> Floats:
        """The probabilities of handing out the choices of some decisions at random."""
        counts = np.bincount(self.action[rows & self.matched], minlength=len(self.targets)).astype(np.float64)
        shares = counts[None, :] * self.able
        totals = shares.sum(axis=1, keepdims=True)
        handed: Floats = np.divide(shares, totals, out=np.zeros_like(shares), where=totals > 0)
        return handed

    def ratio(self, chosen: Floats) -> Floats:
        """By decision: a policy's probability of what was done, over that with which it was done."""
        taken = chosen[np.arange(len(self.action)), np.maximum(self.action, 0)]
        ratio: Floats = np.where(self.matched, np.minimum(taken / self.propensity, CLIP), 0.0)
        return ratio

    def robust(self, name: str, chosen: Floats) -> Floats:
        """By decision: what a policy comes to, doubly robustly."""
        expected = self.expected[name]
        own = expected[np.arange(len(self.action)), np.maximum(self.action, 0)]
        off = np.where(self.matched, self.found[name] - own, np.nan)
        worth: Floats = (chosen * expected).sum(axis=1) + self.ratio(chosen) * off
        return worth


def report(logged: Sequence[Logged], against: Sequence[str] = (), seed: int = 0) -> Report:
    """Measure. ``against`` names the targets to compare with; without any: all that were candidates.

    Raises ValueError for a target that was none.
    """
    table = _Table(logged)
    unknown = sorted(set(against) - set(table.targets))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no candidate of any decision; there are {', '.join(table.targets)}")
    draw = np.random.default_rng(seed)
    everything = np.ones(len(logged), bool)
    policies = []
    claims = []
    if logged:
        policies.append(_acting(table, draw))
        policies.append(_value("shuffled", table, table.shuffled(everything), table.matched, draw))
    for target in against or table.targets:
        chosen = table.always(target)
        rows = table.able[:, table.targets.index(target)] & table.matched
        policies.append(_value(target, table, chosen, rows, draw))
        claims.append(_claim(target, table, chosen, rows, draw))
    told = int(np.count_nonzero(~np.isnan(table.found["quality"])))
    return Report(len(logged), told, tuple(policies), tuple(claims))


def _acting(table: _Table, draw: np.random.Generator) -> Value:
    found = table.found
    told = ~np.isnan(found["quality"])
    count = int(told.sum())
    return Value(
        "router",
        len(table.action),
        count,
        _interval([found["quality"][told]], draw, _mean),
        float(found["quality"][told].mean()) if count else None,
        _interval([_known(found["cost_nanos"])], draw, _mean),
        _interval([_known(found["seconds"])], draw, _mean),
        float(count),
        count >= LEAST,
    )


def _value(name: str, table: _Table, chosen: Floats, rows: NDArray[np.bool_], draw: np.random.Generator) -> Value:
    ratio = table.ratio(chosen)
    told = rows & ~np.isnan(table.found["quality"])
    weights, qualities = ratio[told], table.found["quality"][told]
    total = float(weights.sum())
    effective = total**2 / float((weights**2).sum()) if total else 0.0
    by_name = {each: _known(table.robust(each, chosen)[rows]) for each in table.expected}
    return Value(
        name,
        int(rows.sum()),
        int(told.sum()),
        _interval([by_name["quality"]], draw, _mean),
        float((weights * qualities).sum() / total) if total else None,
        _interval([by_name["cost_nanos"]], draw, _mean),
        _interval([by_name["seconds"]], draw, _mean),
        round(effective, 1),
        int(told.sum()) >= LEAST and effective >= LEAST_EFFECTIVE,
    )


def _claim(target: str, table: _Table, chosen: Floats, rows: NDArray[np.bool_], draw: np.random.Generator) -> Claim:
    control = table.shuffled(rows)
    priced = rows & ~np.isnan(table.found["cost_nanos"])
    told = rows & ~np.isnan(table.found["quality"])
    cost, quality = table.found["cost_nanos"], table.found["quality"]
    fixed_cost, control_cost = (table.robust("cost_nanos", each) for each in (chosen, control))
    fixed, mixed = (table.robust("quality", each) for each in (chosen, control))
    saved = _interval([fixed_cost[priced], cost[priced]], draw, _share) or _NOTHING
    shuffled = _interval([fixed_cost[priced], control_cost[priced]], draw, _share) or _NOTHING
    better = _interval([(quality - fixed)[told]], draw, _mean) or _NOTHING
    shuffled_better = _interval([(mixed - fixed)[told]], draw, _mean) or _NOTHING
    known = _interval([(quality - mixed)[told]], draw, _mean) or _NOTHING
    weights = table.ratio(chosen)[told]
    effective = float(weights.sum()) ** 2 / float((weights**2).sum()) if weights.any() else 0.0
    is_enough = int(told.sum()) >= LEAST and int(priced.sum()) >= LEAST and effective >= LEAST_EFFECTIVE
    verdict = _verdict(target, saved, better, known) if is_enough else _too_few(target, int(told.sum()), effective)
    return Claim(target, int(rows.sum()), saved, better, shuffled, shuffled_better, known, is_enough, verdict)


_NOTHING: Final = Interval(0.0, 0.0, 0.0)


def _too_few(target: str, told: int, effective: float) -> str:
    return (
        f"Too few data to compare with {target}: {told} decisions with a known quality, worth {effective:.0f} of its "
        f"own; {LEAST} and {LEAST_EFFECTIVE:.0f} are needed. Nothing is claimed."
    )


def _verdict(target: str, saved: Interval, better: Interval, known: Interval) -> str:
    """What can be said. Savings alone are no merit: whoever takes a cheaper target at random saves as well."""
    if saved.high < 0:
        return f"It costs more than always taking {target}."
    if saved.low <= 0:
        return f"No savings against always taking {target} are shown."
    quality = (
        "and answers better" if better.low > 0
        else "at the same quality" if better.low > -SAME
        else "at a lower quality" if better.high < 0
        else "and whether its quality is lower is not shown"
    )  # fmt: skip
    merit = (
        "It chooses better than the same choices handed out at random." if known.low > 0
        else "That it chooses better than at random is not shown: the savings may be those of mixing."
    )  # fmt: skip
    return f"It saves against always taking {target}, {quality}. {merit}"


def _known(values: Floats) -> Floats:
    kept: Floats = values[~np.isnan(values)]
    return kept


def _mean(columns: list[Floats]) -> Floats:
    means: Floats = columns[0].mean(axis=-1)
    return means


def _share(columns: list[Floats]) -> Floats:
    """What is saved of the first by the second, as a share of it."""
    before, after = columns[0].sum(axis=-1), columns[1].sum(axis=-1)
    shares: Floats = np.where(np.abs(before) > 0, 1.0 - after / np.where(before == 0, 1.0, before), 0.0)
    return shares


def _interval(columns: list[Floats], draw: np.random.Generator, measure: object) -> Interval | None:
    assert callable(measure)
    size = len(columns[0])
    if not size:
        return None
    whole = float(measure([column[None, :] for column in columns])[0])
    samples = []
    for _ in range(SAMPLES):
        rows = draw.integers(0, size, size)
        samples.append(float(measure([column[rows][None, :] for column in columns])[0]))
    low, high = np.quantile(samples, (0.025, 0.975))
    return Interval(whole, float(low), float(high))
