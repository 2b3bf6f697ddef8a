"""What a request is expected to cost, of which every decision asks each candidate."""

from __future__ import annotations

from gateway.routing.candidates import CHARS_PER_TOKEN
from gateway.routing.estimates import Candidate
from gateway.routing.request import Ask


def prompt_tokens(ask: Ask) -> int:
    """Those told, else a quarter of the characters."""
    return len(ask.prompt) // CHARS_PER_TOKEN if ask.prompt_tokens is None else ask.prompt_tokens


def cost_of(candidate: Candidate, prompt: int, cached: int, tokens: float) -> float:
    """US dollars of a request: ``prompt`` tokens, ``cached`` of them at their own price, and an answer's ``tokens``."""
    price = candidate.input_price
    if not cached:
        return (prompt * price + tokens * candidate.output_price) / 1e6
    at_cache = price if candidate.cached_price is None else candidate.cached_price
    return ((prompt - cached) * price + cached * at_cache + tokens * candidate.output_price) / 1e6
