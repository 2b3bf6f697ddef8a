"""What the data plane asks the sidecar and hears from it, however the two are connected."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from msgspec import Struct

from gateway.contract.catalogue import Details
from gateway.contract.learned_routes import LearnedRoutes
from gateway.contract.policy import Change, Resolution
from gateway.contract.prices import Priced, Prices

PRICED_MOST = 32
"""Targets in one question for prices, or for what is known of them."""


class PolicyUnavailable(Exception):
    """The sidecar did not answer in time, or not as it should. The message says why and holds no secret."""


class Query(Struct, frozen=True, omit_defaults=True):
    """One credential to look up: the hex SHA-256 of an opaque key, or a whole JSON Web Token.

    ``app`` is the ``app_…`` part of an ``app_…:sk_…`` credential; its ``digest`` is that of the whole text.
    """

    digest: str | None = None
    token: str | None = None
    app: str | None = None


class PolicySource(Protocol):
    """Where a worker learns credentials' policies and what has changed."""

    async def resolve(self, query: Query) -> Resolution:
        """Whose credential it is.

        Raises :class:`PolicyUnavailable` within two seconds where the sidecar does not answer, within twelve where it
        answers so many others first.
        """
        ...

    def changes(self) -> AsyncGenerator[Change | None, None]:
        """Every change from now on; None once a second while there are none. Ends when it is closed.

        A first ``everything`` comes with the first connection and after any gap: what was learnt before may be stale.
        """
        ...

    @property
    def connected(self) -> bool:
        """Whether changes are being heard now. Only while :meth:`changes` is iterated."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class PriceSource(Protocol):
    """Where a worker learns what its targets cost."""

    async def prices(self, targets: Sequence[Priced]) -> Prices:
        """What these targets cost from now on, at most :data:`PRICED_MOST`; perhaps of the first ones alone.

        Raises :class:`PolicyUnavailable` within ten seconds where the sidecar does not answer.
        """
        ...


class DetailSource(Protocol):
    """Where a worker learns what is known of its targets beside what it reads in the configuration."""

    async def details(self, targets: Sequence[Priced]) -> Sequence[Details]:
        """What is known of these targets, at most :data:`PRICED_MOST`, in their order.

        Raises :class:`PolicyUnavailable` within ten seconds where the sidecar does not answer.
        """
        ...


class RouteSource(Protocol):
    """Where a worker learns what the feedback of an organization has taught."""

    async def routes(self, organization: str) -> LearnedRoutes:
        """What was learnt of an organization's routes so far.

        Raises :class:`PolicyUnavailable` within two seconds where the sidecar does not answer.
        """
        ...


class Source(PolicySource, PriceSource, DetailSource, RouteSource, Protocol):
    """All that a worker learns from its sidecar."""
