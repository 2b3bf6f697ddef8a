"""Say why no target was left, and which one came nearest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from gateway.kernel.errors import GatewayError, Kind
from gateway.routing.candidates import BOUND, UNPRICED
from gateway.routing.costs import cost_of, prompt_tokens
from gateway.routing.estimates import Candidate, Quality
from gateway.routing.request import Ask

ORDER: Final = (
    "allowed_models", "exclude_providers", "preferred_providers", "capabilities", "context_length", "breaker",
    "max_cost", "max_response_time", "min_quality",
)  # fmt: skip
"""The constraints in the order they are applied."""

_KINDS: Final = {"allowed_models": Kind.FORBIDDEN, "breaker": Kind.UNAVAILABLE}


def refusal(
    candidates: Sequence[Candidate], qualities: Sequence[Quality], refused: Sequence[tuple[str, str]], ask: Ask
) -> GatewayError:
    """The error for a request that no target can serve: it names the constraint that left none.

    ``refused`` has each candidate's name with the first constraint it failed, in the order of ``candidates``. That
    which left none is the last of them in ``ORDER``: the targets that failed it met all before.
    """
    if not refused:
        return GatewayError(Kind.UNAVAILABLE, "no_candidates", "There is no target to choose from.", "model")
    last = max((failed for _, failed in refused), key=ORDER.index)
    near = [
        (candidate, quality)
        for candidate, quality, (_, failed) in zip(candidates, qualities, refused, strict=True)
        if failed == last
    ]
    sentence = _SENTENCES[last](near, ask)
    kind = _KINDS.get(last, Kind.INVALID)
    return GatewayError(kind, f"no_candidate_{last}", f"No target meets {last}: {sentence}", f"constraints.{last}")


_Near = list[tuple[Candidate, Quality]]


def _cost(near: _Near, ask: Ask) -> str:
    if all(one.output_price >= UNPRICED for one, _ in near):
        return f"of {', '.join(one.name for one, _ in near)} no price is known."
    prompt = prompt_tokens(ask)
    cost, name = min(
        (cost_of(one, prompt, min(ask.cached_tokens, prompt), _tokens(each, ask)), one.name) for one, each in near
    )
    return f"the limit is ${ask.constraints.max_cost:g}; {name}, the nearest, is expected to cost ${cost:.6f}."


def _time(near: _Near, ask: Ask) -> str:
    seconds, name = min(
        ((one.first_token + one.per_token * _tokens(each, ask)) * one.spread, one.name) for one, each in near
    )
    limit = ask.constraints.max_response_time
    return f"the limit is {limit:g} s; {name}, the nearest, is expected to answer 95 of 100 within {seconds:.2f} s."


def _quality(near: _Near, ask: Ask) -> str:
    lower, name = max((each.probability - BOUND * each.error, one.name) for one, each in near)
    asked = ask.constraints.min_quality
    return f"{asked:g} is asked for; {name}, the nearest, reaches {max(lower, 0):.3f} with a certainty of 95 %."


def _context(near: _Near, ask: Ask) -> str:
    asked = prompt_tokens(ask) + (ask.max_tokens or 0)
    length, name = max((one.context_length or 0, one.name) for one, _ in near)
    return f"prompt and answer take about {asked} tokens; {name}, the nearest, takes {length}."


def _capabilities(near: _Near, ask: Ask) -> str:
    lacking, name = min((sorted(ask.needs - one.capabilities), one.name) for one, _ in near)
    return f"{', '.join(sorted(ask.needs))} is asked for; {name}, the nearest, lacks {', '.join(lacking)}."


def _preferred(near: _Near, ask: Ask) -> str:
    wanted = ", ".join(sorted(ask.constraints.preferred_providers))
    return f"{wanted} preferred; there are targets of {_providers(near)}."


def _excluded(near: _Near, ask: Ask) -> str:
    return f"every target is of {_providers(near)}."


def _allowed(near: _Near, ask: Ask) -> str:
    return f"the key may use none of {', '.join(one.name for one, _ in near)}."


def _breaker(near: _Near, ask: Ask) -> str:
    return f"{', '.join(one.name for one, _ in near)} rest after failures."


_SENTENCES: Final = {
    "allowed_models": _allowed,
    "exclude_providers": _excluded,
    "preferred_providers": _preferred,
    "capabilities": _capabilities,
    "context_length": _context,
    "breaker": _breaker,
    "max_cost": _cost,
    "max_response_time": _time,
    "min_quality": _quality,
}


def _tokens(quality: Quality, ask: Ask) -> float:
    return min(quality.tokens, math.inf if ask.max_tokens is None else ask.max_tokens)


def _providers(near: _Near) -> str:
    return ", ".join(sorted({one.provider for one, _ in near}))
