"""An LLM gateway: one base URL in front of every model."""

__version__ = "0.1.0"
