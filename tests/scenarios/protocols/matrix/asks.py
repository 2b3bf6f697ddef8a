"""What is asked and what is got, whatever API a client speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel

Json = dict[str, Any]
LIMIT = 5_000
"""Tokens that an answer may take."""
SCHEMA: Json = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
"""Arguments of every tool."""


class Place(BaseModel):
    """The structured answer."""

    city: str


@dataclass(frozen=True)
class Ask:
    """One request. ``tools`` are names; ``choice`` is ``required`` or None; ``image`` is a URL, which may be one of
    data. ``single``: at most one call at a time.
    """

    text: str
    system: str | None = None
    tools: tuple[str, ...] = ()
    choice: str | None = None
    single: bool = False
    image: str | None = None
    schema: type[BaseModel] | None = None
    thinks: bool = False
    temperature: float | None = None
    stream: bool = False
    limit: int = LIMIT


class Call(NamedTuple):
    """A tool call."""

    id: str
    name: str
    arguments: Json


class Usage(NamedTuple):
    """Tokens; those read from a cache and those of thoughts are among the others."""

    prompt: int
    completion: int
    cached: int
    thoughts: int


@dataclass
class Got:
    """One answer. ``end`` is the client's own word for why it ended, ``pieces`` how many pieces of its text came in a
    stream, ``parsed`` what the SDK read. ``asked`` and ``turn`` are the request and the answer as the SDK sends them
    again.
    """

    text: str
    calls: list[Call]
    thoughts: str
    end: str
    usage: Usage
    asked: Json
    turn: list[Any]
    pieces: int = 0
    parsed: BaseModel | None = None


class Client(Protocol):
    """A client's SDK."""

    name: str
    ends: ClassVar[Json]
    """Its words for ``stop``, ``tools`` and ``limit``."""

    def ask(self, model: str, ask: Ask) -> Got:
        """One request and its answer."""

    def answer(self, got: Got, results: list[str]) -> Got:
        """Go on with what each tool said that was called."""

    def go_on(self, got: Got, text: str) -> Got:
        """Go on with another text."""

    def leave(self, model: str, text: str) -> str:
        """Begin a stream, and go after its first piece, which is returned."""

    def fault(self, model: str, text: str, stream: bool) -> tuple[int, str]:
        """The status and the message of the error that a request ends in; the status is 200 where it came within a
        stream that had begun well.
        """
