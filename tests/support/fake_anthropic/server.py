"""Runs the fake provider in a thread of the test process."""

from __future__ import annotations

from starlette.types import ASGIApp

from tests.support.fake_anthropic.app import build_app
from tests.support.fake_openai.server import FakeOpenAI

KEY = "sk-ant-fake-provider-key"
"""The one key the provider accepts."""


class FakeAnthropic(FakeOpenAI):
    """A provider at ``base_url``, ``/v1`` included; Anthropic's own clients take :attr:`root`."""

    @property
    def root(self) -> str:
        """The base URL without ``/v1``."""
        return self.base_url.removesuffix("/v1")

    def build(self) -> ASGIApp:
        """The application."""
        return build_app(self.recording, self.gates, KEY)
