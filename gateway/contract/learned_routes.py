"""What a learned route decided, as its usage event tells it, and what was learnt since, as workers are told.

A target is named ``<provider>/<model as the provider calls it>``. Money is integer nano-dollars, times are seconds,
qualities are probabilities of a good answer, shifts are differences of their logits.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Goal = Literal["cost", "speed", "quality", "balanced"]


class Estimate(Struct, frozen=True, omit_defaults=True, gc=False):
    """What was expected of one target that met the constraints.

    ``propensity`` is the probability with which it could have been chosen: 1 where nothing is explored.
    """

    target: str
    quality: float
    cost_nanos: int
    seconds: float
    propensity: float = 0.0
    tokens: int = 0
    """Of its answer."""
    shift: float = 0.0
    """How far the logit of ``quality`` is moved by what was learnt: without it, it is what the model alone says."""
    length: float = 1.0
    """By how much ``tokens`` are multiplied by what was learnt."""


class Decision(Struct, frozen=True, omit_defaults=True, gc=False):
    """One decision. ``estimates`` has the chosen target first, then the others, best first.

    ``task`` is what the prompt was taken for. ``shadow``: decided and told, another way was gone. ``fixed``: the best
    fixed choice was taken, since what was learnt is behind it.
    """

    chosen: str
    task: str
    goal: Goal
    confidence: float
    estimates: tuple[Estimate, ...]
    explored: bool = False
    shadow: bool = False
    fixed: bool = False


class Shift(Struct, frozen=True, omit_defaults=True):
    """How far the logit of a target's quality is moved, for prompts of ``task`` (of every task where it is empty).

    Both add up. ``weight`` is how many observations that rests on, those of long ago counting less. ``doubt`` is the
    standard deviation of both that is left (of a task not named the one without a task); 0: nothing is to be tried.
    """

    target: str
    shift: float
    weight: float
    task: str = ""
    doubt: float = 0.0


class Timing(Struct, frozen=True, omit_defaults=True):
    """What a target's answers took: until the first token, for each token, and the 95th percentile over the median.

    ``length`` is the tokens of its answers over those expected; ``weight`` as in :class:`Shift`.
    """

    target: str
    first_token: float
    per_token: float
    spread: float
    length: float
    weight: float


class LearnedRoutes(Struct, frozen=True, omit_defaults=True):
    """What an organization's feedback has taught, as of change ``seq``. Nothing of it comes from another's feedback.

    ``fixed`` is the target to be taken whenever it is among the candidates, while what was learnt is behind it.
    ``doubt`` and ``common`` are the doubt and the shift of targets which are not named in ``shifts``.
    """

    seq: int
    organization: str
    shifts: tuple[Shift, ...] = ()
    timings: tuple[Timing, ...] = ()
    fixed: str | None = None
    doubt: float = 0.0
    common: float = 0.0
