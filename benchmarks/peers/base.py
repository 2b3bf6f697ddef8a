"""One thing that is measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.child import Child

CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Peer:
    """Where a peer listens and the process tree it is charged for.

    ``child`` is ``None`` for the upstream asked directly.
    """

    name: str
    url: str
    child: Child | None = None
    headers: dict[str, str] = field(default_factory=dict)
    stream_url: str | None = None

    def chat(self, *, stream: bool = False) -> str:
        """The URL of its chat endpoint."""
        base = self.stream_url if stream and self.stream_url else self.url
        return base + CHAT

    @property
    def pid(self) -> int:
        """The root of its process tree. Raises :class:`LookupError` for the upstream asked directly."""
        if self.child is None:
            raise LookupError(f"{self.name} has no process of its own")
        return self.child.pid
