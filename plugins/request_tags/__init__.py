"""Labels for usage events."""

from plugins.request_tags.plugin import RequestTags

__all__ = ["RequestTags"]
