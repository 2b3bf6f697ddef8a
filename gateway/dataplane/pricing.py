"""Prices of targets and the cost of a request, in integer nano-dollars."""

from __future__ import annotations

from typing import NamedTuple

from gateway.contract.usage import Tokens
from gateway.settings.model import Price


class Rate(NamedTuple):
    """Nano-dollars per 1,000 tokens: still integers for every published price."""

    input: int
    cached_input: int
    output: int


FREE = Rate(0, 0, 0)


def rate_of(price: Price) -> Rate:
    """The rate of a price given in US dollars per 1,000 tokens."""
    cached = price.cached_input_per_1k
    return Rate(
        round(price.input_per_1k * 1e9),
        round((price.input_per_1k if cached is None else cached) * 1e9),
        round(price.output_per_1k * 1e9),
    )


def cost_of(rate: Rate, tokens: Tokens) -> int:
    """What the counted tokens cost; a fraction of a nano-dollar is rounded up, once, on the sum."""
    fresh = tokens.prompt - tokens.cached
    thousandths = fresh * rate.input + tokens.cached * rate.cached_input + tokens.completion * rate.output
    return -(-thousandths // 1000)


def worst_case(rate: Rate, prompt: int, completion: int) -> int:
    """What a request can cost at most, for a reservation."""
    return -(-(prompt * max(rate.input, rate.cached_input) + completion * rate.output) // 1000)
