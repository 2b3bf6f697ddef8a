"""What a decision is asked, and what it answers. Without NumPy, so that whoever asks needs none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.kernel.compiling import mypyc_attr

if TYPE_CHECKING:
    from gateway.contract.learned_routes import Decision
    from gateway.dataplane.learned.taught import Lessons
    from gateway.dataplane.target import Target
    from gateway.routing.estimates import Estimate
    from gateway.routing.request import Ask
    from gateway.settings.model import Weighing


@mypyc_attr(acyclic=True)
class Chosen:
    """The targets, the one to be tried first before all; what is told of the decision; what was expected of each."""

    __slots__ = ("order", "ranked", "told")

    def __init__(self, order: list[Target], told: Decision, ranked: list[Estimate]) -> None:
        self.order = order
        self.told = told
        self.ranked = ranked


@mypyc_attr(acyclic=True)
class Question:
    """What is to be decided: for whom (``lessons``), by what (``ask``), among which places of the offered targets.

    ``resting`` are tried behind the others, and are all there is where no other is left. ``organization`` is whose
    prompts it is kept with for a while.
    """

    __slots__ = ("ask", "id", "lessons", "organization", "places", "resting", "weighing")

    def __init__(
        self,
        id: str,
        ask: Ask,
        weighing: Weighing,
        lessons: Lessons,
        places: Sequence[int],
        resting: Sequence[int] = (),
        organization: str = "",
    ) -> None:
        self.id = id
        self.ask = ask
        self.weighing = weighing
        self.lessons = lessons
        self.places = places
        self.resting = resting
        self.organization = organization
