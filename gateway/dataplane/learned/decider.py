"""What one model chooses by. The router's weights are loaded once a configuration, when they are first needed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.dataplane.learned.engine import Offered
    from gateway.dataplane.target import Target
    from gateway.routing.model import Model
    from gateway.settings.model import Weighing

logger = logging.getLogger("gateway.learned")


class Learned:
    """The weights of one configuration; ``path`` None: those that ship."""

    __slots__ = ("_lock", "deciders", "model", "path")

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.model: Model | None = None
        self.deciders: list[Decider] = []
        self._lock: asyncio.Lock | None = None

    async def ready(self, decider: Decider) -> None:
        """Have the weights, and a decider's targets. Raises :class:`GatewayError` (INTERNAL) ``ml_routing_failed``."""
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            if decider.offered is not None:
                return
            try:
                await asyncio.to_thread(self._load, decider)
            except Exception as error:
                logger.error("the router can't be loaded", extra={"reason": str(error)})
                message = "The learned router is not available on this gateway."
                raise GatewayError(Kind.INTERNAL, "ml_routing_failed", message) from None

    async def start(self) -> None:
        """Have all that is configured, before the first request does. Raises ValueError with the reason."""
        for decider in self.deciders:
            try:
                await asyncio.to_thread(self._load, decider)
            except Exception as error:
                raise ValueError(f"the learned router can't be loaded: {error}") from error

    def take_over(self, previous: Learned) -> None:
        """Go on with the weights of a configuration before this one."""
        if self.path == previous.path:
            self.model = previous.model

    def _load(self, decider: Decider) -> None:
        # NumPy takes a quarter of a second and 20 MB, which a gateway without learned routes must not pay. Its products
        # are small here, and a worker is one of several: threads of its own would only cost.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.putenv(name, "1")
        # The import of NumPy comes with it.
        from gateway.dataplane.learned.engine import Offered, load  # noqa: PLC0415

        if self.model is None:
            self.model = load(self.path)
        if decider.parent is not None:
            if decider.parent.offered is None:
                self._load(decider.parent)
            decider.offered = decider.parent.offered
        else:
            decider.offered = Offered(self.model, decider.targets)
        decider.locate()


class Decider:
    """The targets of one route, how they are weighed, and whether decisions are only recorded (``shadow``).

    ``parent`` is one with all targets, where this has some of them. ``offered`` is None until it is ready.
    """

    __slots__ = ("learned", "lengths", "located", "offered", "parent", "places", "shadow", "targets", "weighing")

    def __init__(
        self,
        learned: Learned,
        weighing: Weighing,
        targets: Sequence[Target],
        *,
        shadow: bool = False,
        parent: Decider | None = None,
    ) -> None:
        self.learned = learned
        self.weighing = weighing
        self.targets = tuple(targets)
        self.shadow = shadow
        self.parent = parent
        self.offered: Offered | None = None
        self.places: dict[Target, int] = {}
        self.located: list[int] = []
        """The places of ``targets``, in their order."""
        self.lengths = [target.offers.context_length or 0 for target in self.targets]
        """The tokens that the context of each of ``targets`` takes; 0 where nobody knows."""

    def locate(self) -> None:
        """Find the targets among those offered."""
        assert self.offered is not None
        where = {target: place for place, target in enumerate(self.offered.targets)}
        self.places = {target: where[target] for target in self.targets}
        self.located = [where[target] for target in self.targets]

    async def ready(self) -> None:
        """See :meth:`Learned.ready`."""
        await self.learned.ready(self)
