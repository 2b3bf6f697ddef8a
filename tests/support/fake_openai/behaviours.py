"""How an answer is delivered, chosen by the model's name. :data:`MODELS` is the whole list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Behaviour:
    """The quirks of one model. The defaults are a well-behaved provider.

    ``gate`` waits for the test (name in ``metadata.gate``) before the head, or before each event; ``cut`` writes at
    most so many bytes at once; ``join`` puts so many events into one write; ``ends`` says what happens after the last
    event (or, of a plain answer, in its middle).
    """

    about: str = "answers like OpenAI"
    status: int = 200
    body: bytes | None = None
    content_type: str | None = None
    encoding: Literal["gzip", "br"] | None = None
    newline: bytes = b"\n"
    comments: bool = False
    extra: bool = False
    cut: int = 0
    join: int = 1
    gate: Literal["head", "events"] | None = None
    silent: bool = False
    chunked: bool = False
    close: bool = False
    fails: int = 0
    usage: Literal["as asked", "never", "with the last choice"] = "as asked"
    ends: Literal["well", "cut", "stuck", "endless", "no done", "error event"] = "well"


ERROR_STATUSES = (400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 529)

EXTRA = (
    b'"x_one":1.0,"x_huge":1e400,"x_big":123456789012345678901234567890,"x_minus":-0.0,"x_exp":2E+3,'
    b'"x_esc":"\\u00e9\\/\\ud83d\\ude00 \xc3\xa9","x_space" : [ 1 ,2 ],"x_twice":1,"x_twice":2,'
)
"""Members that a re-serialiser would change; models with ``extra`` put them first into every object."""

MODELS: dict[str, Behaviour] = {
    "fake-chat": Behaviour(),
    "fake-other": Behaviour(),
    "fake-embed": Behaviour(),
    "fake-moderation": Behaviour(),
    "fake-rerank": Behaviour(),
    "fake-speech": Behaviour(),
    "fake-transcribe": Behaviour(),
    "fake-image": Behaviour(),
    **{f"error-{status}": Behaviour(f"answers {status}", status=status) for status in ERROR_STATUSES},
    "error-html": Behaviour("a proxy's error page", 502, b"<html>Bad Gateway</html>", "text/html"),
    "error-empty": Behaviour("an error without a body", 503, b"", "text/plain"),
    "error-odd": Behaviour(
        "another vendor's error form", 400, b'{"detail":"no such thing","n":1.0}', "application/json"
    ),
    "gzip": Behaviour("gzip-encoded", encoding="gzip"),
    "br": Behaviour("brotli-encoded", encoding="br"),
    "crlf": Behaviour("events end with CRLF CRLF", newline=b"\r\n"),
    "crlf-split": Behaviour("CRLF framing cut anywhere", newline=b"\r\n", cut=7),
    "comments": Behaviour("comments, keep-alives, event and id lines", comments=True),
    "extra": Behaviour("unknown and delicate members", extra=True),
    "split": Behaviour("every write is five bytes, characters are cut", cut=5),
    "joined": Behaviour("two events in one write", join=2),
    "gated-head": Behaviour("the head waits for the test", gate="head"),
    "gated": Behaviour("each event waits for the test", gate="events"),
    "never": Behaviour("never answers", silent=True),
    "stuck": Behaviour("falls silent after its events", ends="stuck"),
    "endless": Behaviour("never stops sending events", ends="endless"),
    "cut": Behaviour("the connection breaks in the middle", ends="cut"),
    "no-done": Behaviour("ends without [DONE]", ends="no done"),
    "error-event": Behaviour("an error as the last event", ends="error event"),
    "chunked": Behaviour("a plain answer in chunked encoding", chunked=True),
    "close": Behaviour("closes the connection after the answer", close=True),
    "flaky": Behaviour("503 the first time it sees a body, then well", fails=1),
    "failing": Behaviour("503 every time, without a word on when to come back", fails=1_000_000),
    "no-usage": Behaviour("tells no usage even if asked", usage="never"),
    "usage-last": Behaviour("usage in the chunk of the last choice", usage="with the last choice"),
}


def behaviour_of(model: str) -> Behaviour:
    """The behaviour of ``model``; an unlisted name is well-behaved."""
    return MODELS.get(model, MODELS["fake-chat"])
