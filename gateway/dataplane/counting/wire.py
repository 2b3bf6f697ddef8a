"""What a worker asks and what comes back: MessagePack, each with its length in four bytes before it."""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

HEAD: Final = 4


class Produced(Struct, array_like=True):
    """What an upstream has sent and told no usage of.

    ``events`` are server-sent events as they came, or a whole JSON answer where ``is_whole``. ``text`` and ``thoughts``
    came before them, out of more events, as JSON spells strings. ``lost`` is how many bytes of such text were not kept.
    """

    events: bytes = b""
    is_whole: bool = False
    text: bytes = b""
    thoughts: bytes = b""
    lost: int = 0


class Ask(Struct, array_like=True):
    """Tokens to count. ``request`` is a request's JSON body, None where its tokens are known."""

    number: int
    vocabulary: str
    endpoint: str
    request: bytes | None
    produced: Produced = field(default_factory=Produced)


class Counted(Struct, array_like=True):
    """How many tokens the request has, and the answer; ``thoughts`` are part of ``completion``."""

    number: int
    prompt: int
    completion: int
    thoughts: int
