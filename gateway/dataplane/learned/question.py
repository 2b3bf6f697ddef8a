"""What a decision is asked, and what it answers. Without NumPy, so that whoever asks needs none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gateway.contract.learned_routes import Decision
    from gateway.dataplane.learned.taught import Lessons
    from gateway.dataplane.routing import Target
    from gateway.routing.candidates import Ask, Estimate
    from gateway.settings.model import Weighing


class Chosen(NamedTuple):
    """The targets, the one to be tried first before all; what is told of the decision; what was expected of each."""

    order: list[Target]
    told: Decision
    ranked: list[Estimate]


class Question(NamedTuple):
    """What is to be decided: for whom (``lessons``), by what (``ask``), among which places of the offered targets.

    ``resting`` are tried behind the others, and are all there is where no other is left. ``organization`` is whose
    prompts it is kept with for a while.
    """

    id: str
    ask: Ask
    weighing: Weighing
    lessons: Lessons
    places: Sequence[int]
    resting: Sequence[int] = ()
    organization: str = ""
