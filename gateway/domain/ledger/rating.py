"""What the ledger asks of prices: the cost of some tokens of a model at some instant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.contract.usage import Tokens, quantities_of
from gateway.domain.pricing.book import PriceBook

BILLED = ("ok", "cancelled", "cut")
"""Outcomes that cost what was produced. What failed costs nothing, and an answer from a cache saves what it would have
cost."""


UNITS = (
    "cache_write_1h", "audio_prompt", "audio_completion", "image_prompt", "image_completion", "images", "audio_seconds",
)  # fmt: skip
"""Those that few requests have: an entry keeps them together, under ``units``."""


class Rating(Struct, frozen=True):
    """A cost in nano-dollars with its parts by token kind, and the price it comes from."""

    cost_nanos: int
    parts: Mapping[str, int]
    price_id: str | None
    currency: str


class Rater(Protocol):
    """Rates requests by the prices of one moment."""

    def __call__(
        self, provider: str | None, model: str, tokens: Tokens, at_ns: int, organization: str | None = None
    ) -> Rating | None:
        """The cost by the price in force at ``at_ns`` (Unix nanoseconds); None where there is no price.

        ``organization`` is given for what an organisation itself reports, for which it may have prices of its own.
        """

    async def keep(self, session: AsyncSession) -> None:
        """Store, in the transaction that enters what was rated, the prices it names that are not stored yet."""


class NoPrices:
    """A rater that knows no price."""

    def __call__(
        self, provider: str | None, model: str, tokens: Tokens, at_ns: int, organization: str | None = None
    ) -> Rating | None:
        """See :class:`Rater`."""
        return None

    async def keep(self, session: AsyncSession) -> None:
        """See :class:`Rater`."""


class BookRater:
    """A rater over a price book. It knows the prices as of the last :meth:`PriceBook.refresh`."""

    def __init__(self, book: PriceBook) -> None:
        self.book = book

    def __call__(
        self, provider: str | None, model: str, tokens: Tokens, at_ns: int, organization: str | None = None
    ) -> Rating | None:
        """See :class:`Rater`."""
        price = None if provider is None else self.book.at(provider, model, at_ns, organization)
        if price is None:
            return None
        rated = self.book.rate(price, quantities_of(tokens), at_ns)
        return None if rated is None else Rating(rated.cost_nanos, rated.parts, rated.price_id, rated.currency)

    async def keep(self, session: AsyncSession) -> None:
        """See :class:`Rater`."""
        await self.book.keep(session, datetime.now(UTC))
