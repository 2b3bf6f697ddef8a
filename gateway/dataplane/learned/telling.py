"""What the client is told of a decision, as headers of its answer.

``x-gateway-decision: <target>; task=<task>; goal=<goal>`` with ``; explored``, ``; fixed`` or ``; shadow`` behind;
``x-gateway-confidence``; ``x-gateway-alternatives``, the next best first; ``x-gateway-estimated-cost`` in US dollars,
where it has a price, and ``x-gateway-estimated-seconds`` of the target chosen.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import quote

from gateway.contract.learned_routes import Decision
from gateway.kernel.money import NANOS_PER_DOLLAR

MOST_ALTERNATIVES: Final = 5
_SAFE: Final = "/:@+._-~!$'()*"


def result_of(decision: Decision) -> str:
    """How it was decided, in a word of few."""
    if decision.shadow:
        return "shadow"
    if decision.explored:
        return "explored"
    return "fixed" if decision.fixed else "best"


def lines_of(decision: Decision, *, is_priced: bool) -> bytes:
    """The header lines. ``is_priced`` is whether the price of the target chosen is known."""
    best = decision.estimates[0]
    others = ", ".join([_told(one.target) for one in decision.estimates[1 : MOST_ALTERNATIVES + 1]])
    how = "; explored" if decision.explored else "; fixed" if decision.fixed else ""
    if decision.shadow:
        how += "; shadow"
    dollars, nanos = divmod(best.cost_nanos, NANOS_PER_DOLLAR)
    return (
        f"x-gateway-decision: {_told(decision.chosen)}; task={_told(decision.task)}; goal={decision.goal}{how}\r\n"
        f"x-gateway-confidence: {decision.confidence:.4f}\r\n"
        + (f"x-gateway-alternatives: {others}\r\n" if others else "")
        + (f"x-gateway-estimated-cost: {dollars}.{nanos:09d}\r\n" if is_priced else "")
        + f"x-gateway-estimated-seconds: {best.seconds:.3f}\r\n"
    ).encode()


@lru_cache(maxsize=4_096)
def _told(name: str) -> str:
    return quote(name, safe=_SAFE)
