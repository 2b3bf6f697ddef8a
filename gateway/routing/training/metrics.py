"""How good a router is. Definitions are those of RouteLLM (Ong et al. 2024, arXiv 2406.18665).

For a strong and a weak model, with c the share of calls that go to the strong one: PGR(c) = (quality(c) - weak) /
(strong - weak). APGR is its mean over c by the trapezoid rule on 11 points; CPT(x) the smallest c that reaches x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
POINTS = 11
BINS = 10
DRAWS = 400


@dataclass(frozen=True)
class Interval:
    """A value with the interval that 95 of 100 samples of prompts give; NaN where it is not defined."""

    value: float
    low: float
    high: float


def gains(preference: Floats, strong: Floats, weak: Floats) -> Floats:
    """PGR after 0, 1 … n calls have gone to the strong model, those of the highest preference first."""
    order = np.argsort(-preference, kind="stable")
    gained = np.concatenate(([0.0], np.cumsum((strong - weak)[order], dtype=np.float64)))
    curve: Floats = gained / gained[-1] if gained[-1] else np.full(len(gained), np.nan)
    return curve


def apgr(curve: Floats) -> float:
    """The mean of PGR over the share of strong calls, from :func:`gains`."""
    shares = np.linspace(0.0, 1.0, POINTS)
    at = np.interp(shares * (len(curve) - 1), np.arange(len(curve)), curve)
    return float(((at[1:] + at[:-1]) / 2.0).mean())


def cpt(curve: Floats, share: float) -> float:
    """The smallest share of strong calls whose PGR reaches ``share``; NaN where none does."""
    reached = np.flatnonzero(curve >= share - 1e-12)
    return float(reached[0] / (len(curve) - 1)) if len(reached) else float("nan")


def calibration_error(rates: Floats, scores: Floats) -> float:
    """The mean distance between predicted and found rates over ``BINS`` equal bins, weighted by their sizes."""
    bins = np.minimum((rates * BINS).astype(np.int64), BINS - 1)
    sizes = np.bincount(bins, minlength=BINS)
    apart = np.bincount(bins, rates, BINS) - np.bincount(bins, scores, BINS)
    return float(np.abs(apart).sum() / max(sizes.sum(), 1))


def interval(count: int, value: Callable[[NDArray[np.int64]], float], draws: int = DRAWS) -> Interval:
    """A value of all of ``count`` prompts, and of ``draws`` samples of them with replacement (the bootstrap)."""
    generator = np.random.default_rng(20_240_618)
    found = [value(generator.integers(0, count, count)) for _ in range(draws)]
    whole = value(np.arange(count))
    known = [each for each in found if not np.isnan(each)]
    if not known:
        return Interval(whole, float("nan"), float("nan"))
    low, high = np.percentile(known, [2.5, 97.5])
    return Interval(whole, float(low), float(high))
