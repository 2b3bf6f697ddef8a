"""Vertex AI: the same API under another base URL, with access tokens."""

from __future__ import annotations

from gateway.providers.gemini import Gemini


def translator() -> Gemini:
    """The translation of kind ``vertex``."""
    return Gemini("vertex")
