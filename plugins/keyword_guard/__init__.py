"""Blocks or masks configured words."""

from plugins.keyword_guard.plugin import KeywordGuard

__all__ = ["KeywordGuard"]
