"""What a provider's translation is to the data plane.

A request of the internal form (OpenAI's Chat Completions as parsed JSON with the extension fields of
``docs/protocols.md``) becomes a call of the provider's API; its answer, whole or event by event, becomes one of the
internal form again. Nothing here does any I/O, reads a clock or knows the client's protocol: the same input gives the
same output.

A provider is a module or an instance that satisfies :class:`Translator`, listed by its ``kind`` in
:mod:`gateway.providers.registry`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from gateway.kernel.errors import GatewayError, Kind

Json: TypeAlias = dict[str, Any]
"""A JSON object of the internal form: a request, a completion, one chunk of a stream, or an error envelope."""


class Upstream(Struct, frozen=True):
    """The target of a call.

    ``model`` is the provider's name of the model. ``base_url`` is as configured, without a trailing slash.
    ``api_key`` is the configured one, or the access token that stands for it. ``max_tokens`` is the most completion
    tokens the model makes, None where that is not known. ``options`` are the provider's own settings by name.
    """

    model: str
    base_url: str = ""
    api_key: str | None = None
    max_tokens: int | None = None
    options: Mapping[str, Any] = {}


class Question(Struct, frozen=True):
    """One request to be translated.

    ``chat`` must not be changed: another target may get it next. ``endpoint`` is the endpoint's name, such as
    ``chat.completions`` or ``embeddings``, whose request ``chat`` then is; that of a form has its fields
    (:class:`File`). ``now`` is Unix seconds, for signatures.
    """

    chat: Json
    upstream: Upstream
    endpoint: str = "chat.completions"
    now: float = 0.0


class Call(NamedTuple):
    """What is sent, by POST.

    ``path`` begins with a slash, stands below the base URL's path, and may have a query. ``headers`` are lower-case
    names and values, authentication among them, without host, content-type and content-length. ``dropped`` names what
    the provider can't express, as dotted paths into ``chat`` (``logprobs``, ``messages.content.input_audio``), each
    once: see :func:`refuse_dropped`. ``memo`` is the provider's own: what it must remember to read the answer.
    ``content_type`` is that of the body.
    """

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    dropped: tuple[str, ...] = ()
    memo: Any = None
    content_type: str = "application/json"


class File(NamedTuple):
    """A file of a form, as a translation gets it: its name as it was sent, its media type (empty where none was
    told), its bytes. The other fields of a form are texts, and a list of either where a field came more than once or
    under a name that ends in ``[]`` (which is left off).
    """

    name: str
    media_type: str
    data: bytes


class Media(NamedTuple):
    """An answer that is no JSON: sound, or a plain text. ``usage`` is what the JSON of such an answer would have under
    that name; None where the provider tells none.
    """

    content_type: str
    data: bytes
    usage: Json | None = None


class Headed(Struct, frozen=True):
    """A memo for an answer of which headers tell a part: ``names`` are theirs in lower case, ``told`` what those say
    that came.
    """

    memo: Any
    names: frozenset[bytes]
    told: Mapping[bytes, bytes] = {}

    def heard(self, headers: Iterable[tuple[bytes, bytes]]) -> Headed:
        """The same once the answer's head is here."""
        return replace(self, told={name: value for name, value in headers if name in self.names})


class Failure(NamedTuple):
    """An error of the provider as OpenAI would tell it: a status that says the same (a 529 that means overloaded is a
    503), and ``{"error": {"message", "type", "param", "code"}}``.
    """

    status: int
    envelope: Json


class StreamTranslator(Protocol):
    """One streamed answer.

    ``done`` is set when the provider has said that the answer is complete. An error within the stream is a chunk that
    is an error envelope, ``{"error": {…}}``, whose ``code`` is the HTTP status it stands for (an integer); nothing
    that follows is read.
    """

    done: bool

    def feed(self, event: bytes) -> list[Json]:
        """The chunks that one event makes, none for one that says nothing to a client.

        ``event`` is one whole event as :class:`Frames` cut it. The first chunk of an answer carries ``role``; ``id``,
        ``created`` and ``model`` are in every one and never change. The usage comes as the last chunk, with empty
        ``choices``. Raises :class:`ValueError` for an event that is not what the API sends.
        """

    def end(self) -> list[Json]:
        """The connection's stream has ended: what is still to be told. An answer that broke off must not get a
        ``finish_reason`` here.
        """


class Frames(Protocol):
    """Cuts the bytes of a stream into whole events. An incomplete one is held, at most 16 MiB of it."""

    def feed(self, data: bytes) -> list[bytes]:
        """The events that are whole now. Raises :class:`ValueError` for bytes that can be none, or too large an one."""

    def end(self) -> list[bytes]:
        """The stream ended: a last event that was only not terminated."""


class Translator(Protocol):
    """One provider's API.

    ``kind`` is its name in ``gateway.yaml``. ``endpoints`` are the names of those it can translate.
    ``stream_type`` is the media type of its streams, without parameters.
    """

    kind: str
    endpoints: frozenset[str]
    stream_type: bytes

    def request(self, question: Question) -> Call:
        """The call that asks the same. Raises :class:`~gateway.kernel.errors.GatewayError` (INVALID) naming the field
        for what makes no sense to this provider at all, such as an image that is no image.
        """

    def response(self, body: bytes, memo: Any) -> Json | Media:
        """A ``chat.completion`` (or the answer of another endpoint). Raises :class:`ValueError` for no such answer. A
        refusal that came as an answer is told as an error envelope whose ``code`` is the HTTP status it stands for.
        """

    def stream(self, memo: Any) -> StreamTranslator:
        """The translator of one streamed answer."""

    def frames(self) -> Frames:
        """What cuts one stream into events; :class:`gateway.providers.frames.SseFrames` for server-sent events."""

    def error(self, status: int, body: bytes) -> Failure:
        """An answer with status 400 and above. Never raises: a body that is no error of this API is quoted."""


class Unsupported(GatewayError):
    """A target can't express what is asked for; another may."""


def refuse_dropped(dropped: Sequence[str], allowed: Iterable[str], target: str) -> None:
    """Raise :class:`Unsupported`, a 400 that names the first of ``dropped`` that is not to be dropped silently.

    ``allowed`` is ``drop_params`` of the configuration; ``*`` stands for everything, a name for all below it too.
    """
    kept = frozenset(allowed)
    if not dropped or "*" in kept:
        return
    for name in dropped:
        if name not in kept and not any(name.startswith(f"{each}.") for each in kept):
            message = (
                f"'{name}' can't be expressed in the API of '{target}'. Leave it out, or have drop_params of the"
                " provider or the model drop it."
            )
            raise Unsupported(Kind.INVALID, "unsupported_parameter", message, name)


def envelope(message: str, kind: str, code: str | int | None, param: str | None = None) -> Json:
    """OpenAI's error envelope."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "invalid_request_error",
    408: "timeout_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "upstream_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
"""The ``type`` that goes with a status."""


def failure(status: int, message: str, code: str | None = None, param: str | None = None) -> Failure:
    """An error told by status and message; ``code`` is the provider's own word for it."""
    kind = ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return Failure(status, envelope(message, kind, code, param))


def quoted(status: int, body: bytes) -> Failure:
    """An answer that is no error of the provider's API, such as a proxy's page."""
    text = body[:500].decode("utf-8", "replace").strip() or "no body"
    return failure(status, f"The upstream answered with status {status}: {text}", "upstream_error")
