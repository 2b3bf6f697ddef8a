"""Requests and their messages as they come over the wire, as far as decisions are made by them.

Nothing of it can hold itself, so the collector of garbage need not know of it (``gc=False``).
"""

from __future__ import annotations

from msgspec import Raw, Struct


class Part(Struct, gc=False):
    """A part of a message's content; empty for one that is no text."""

    text: str = ""


class Message(Struct, gc=False):
    """One message, as far as it is read."""

    role: str = ""
    content: Raw = Raw(b"null")


class OneBody(Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    """The body of a single request. ``constraints`` are read apart, one by one, to name the one that is wrong."""

    messages: list[Message]
    optimize_for: str | None = None
    constraints: Raw = Raw(b"null")
    metadata: dict[str, Raw] | None = None


class Together(Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    """How the requests of a batch are decided together. ``priority_order`` has places in the batch."""

    optimize_for: str | None = None
    load_balance: bool = False
    priority_order: list[int] | None = None


class BatchBody(Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    """The body of a batch."""

    requests: list[OneBody]
    batch_optimization: Together | None = None


class Requests(Struct, gc=False):
    """A batch whose requests are not read yet."""

    requests: list[Raw]
