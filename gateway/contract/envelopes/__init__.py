"""Errors as each reference documents them: one module and one table a reference, all pure functions.

:func:`render` picks the module by the owner of the path (:mod:`gateway.contract.owners`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from gateway.contract.envelopes import ai_marketplace, gatewayz, leanvibe, llm_cost_ops, openai, ops_center
from gateway.contract.envelopes.base import Rendered
from gateway.contract.owners import Reference
from gateway.kernel.errors import GatewayError

__all__ = ["RENDERERS", "Rendered", "Renderer", "render"]


class Renderer(Protocol):
    """What each reference's module has."""

    def __call__(self, error: GatewayError, *, request_id: str, now: datetime) -> Rendered: ...


RENDERERS: dict[Reference, Renderer] = {
    "gatewayz": gatewayz.render,
    "llm_cost_ops": llm_cost_ops.render,
    "ai_marketplace": ai_marketplace.render,
    "leanvibe": leanvibe.render,
    "ops_center": ops_center.render,
    "openai": openai.render,
}


def render(reference: Reference, error: GatewayError, *, request_id: str, now: datetime) -> Rendered:
    """An error in a reference's envelope. ``now`` is aware."""
    return RENDERERS[reference](error, request_id=request_id, now=now)
