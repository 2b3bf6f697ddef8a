"""A plugin that does nothing, in every hook: what the chain itself costs."""

from plugins.noop.plugin import Noop

__all__ = ["Noop"]
