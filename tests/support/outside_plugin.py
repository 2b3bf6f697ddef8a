"""A plugin as another distribution would install it."""

from __future__ import annotations

from msgspec import Struct

from gateway.plugin.api import Plugin, Request


class OutsideConfig(Struct):
    """What is put into the tag."""

    greeting: str


class Outside(Plugin):
    """Tags every request with a greeting."""

    name = "outside"
    Config = OutsideConfig

    def on_request(self, request: Request) -> None:
        request.tags["greeting"] = self.config.greeting
