"""Overrides every hook with a plain function that changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.kernel.errors import GatewayError
from gateway.plugin.api import Plugin, Request, Response, Route

if TYPE_CHECKING:
    from gateway.contract.usage import UsageEvent


class Noop(Plugin):
    """Does nothing."""

    name = "noop"

    def on_request(self, request: Request) -> None:
        return None

    def on_route(self, request: Request, route: Route) -> None:
        return None

    def on_response(self, request: Request, response: Response) -> None:
        return None

    def on_chunk(self, request: Request, event: bytes) -> bytes:
        return event

    def on_usage(self, request: Request, event: UsageEvent) -> None:
        return None

    def on_error(self, request: Request, error: GatewayError) -> None:
        return None
