"""Keeps personal data from the model, and gives it back in the answer."""

from plugins.pii_redaction.plugin import PiiRedaction

__all__ = ["PiiRedaction"]
