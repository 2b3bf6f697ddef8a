"""Answers a request that was asked before from a cache."""

from plugins.response_cache.plugin import ResponseCache

__all__ = ["ResponseCache"]
