"""Multipart bodies (RFC 7578): finding ``model`` on the fly, so that a file is relayed while it arrives."""

from __future__ import annotations

from email.message import Message
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from gateway.dataplane.body import invalid
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

    from gateway.dataplane.exchange import Exchange

MAX_MODEL_BYTES = 512
_MAX_PART_HEADER = 8_192
_LAST_CHUNK = b"0\r\n\r\n"


class Upload:
    """Watches a multipart body go by. ``model`` is None until its part is complete.

    ``span`` is where the model's value lies in the body, as offsets of bytes. A second ``model`` part is refused: an
    upstream might read that one. ``whole`` says that the form is kept until it is complete, because a provider
    may have another API (None: that is not known yet); ``body`` is it then.
    """

    def __init__(self, content_type: str) -> None:
        self._boundary = boundary = boundary_of(content_type)
        self.model: str | None = None
        self.span = (0, 0)
        self.whole: bool | None = None
        self.body = b""
        self._seen = 0
        self._name = b""
        self._value = b""
        self._header_field = b""
        self._header_value = b""
        self._in_model = False
        self._named = False
        self._parser = parser_for(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._header_end,
            },
        )

    def named(self, body: bytes, model: str) -> bytes:
        """A whole body that has no ``model`` with one as its first part."""
        part = b'--%b\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n'
        return part % (self._boundary, model.encode()) + body.lstrip(b"\r\n")

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises :class:`GatewayError` where they aren't valid multipart."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise invalid(f"The multipart body is malformed: {error}.", code="invalid_multipart") from None
        self._seen += len(data)

    def _part_begin(self) -> None:
        self._in_model = self._named = False

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_field += data[start:end]
        self._bound(self._header_field)

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._bound(self._header_value)

    def _bound(self, value: bytes) -> None:
        if len(value) > _MAX_PART_HEADER:
            raise invalid("A header of a multipart part is too long.", code="invalid_multipart")

    def _header_end(self) -> None:
        if self._header_field.lower() == b"content-disposition":
            header = Message()
            header["content-disposition"] = self._header_value.decode("latin-1")
            name = header.get_param("name", header="content-disposition")
            if isinstance(name, tuple):
                name = name[2]  # name*=utf-8''model (RFC 2231)
            names = [key for key, _ in header.get_params([], "content-disposition") if key.lower() == "name"]
            if self._named or len(names) > 1:
                raise invalid("A part has more than one name.", code="invalid_multipart")
            self._named = True
            self._in_model = name == "model"
            if self._in_model and self.model is not None:
                raise invalid("The form holds 'model' more than once.", "model", "duplicate_parameter")
        self._header_field = self._header_value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_model:
            return
        first = self._seen + start if not self._value else self.span[0]
        self._value += data[start:end]
        self.span = (first, self._seen + end)
        if len(self._value) > MAX_MODEL_BYTES:
            raise invalid("'model' is too long.", "model")

    def _part_end(self) -> None:
        if self._in_model:
            if not self._value:
                raise invalid("'model' must not be empty.", "model")
            self.model = self._value.decode("utf-8", "replace")


def is_kept(exchange: Exchange, upload: Upload) -> bool:
    """Whether a form must be here whole before it is served: its model, or one that a plugin may put in its place, has
    a target of another API than OpenAI's.
    """
    if upload.whole is None and upload.model is not None:
        routes = exchange.runtime.router.routes
        named = routes.values() if exchange.runtime.chain.on_request else (routes.get(upload.model),)
        upload.whole = any(route is not None and route.translates(exchange.spec.name) for route in named)
    return bool(upload.whole)


def whole_body(exchange: Exchange, upload: Upload) -> bytes:
    """The body of a form that has arrived whole; it is kept, because another target may get it next."""
    upload.whole = True
    if not upload.body:
        upload.body = exchange.take_body()
    return upload.body


def request_with(exchange: Exchange, upload: Upload, head: bytes, model: str) -> list[bytes | memoryview]:
    """The head and the first piece of a form that is relayed to a target, with the target's model in it."""
    body = whole_body(exchange, upload) if upload.whole else exchange.take_body()
    replaced = len(body)
    if upload.model is not None and upload.model != model:
        first, last = upload.span
        body = body[:first] + model.encode() + body[last:]
    elif upload.model is None and model != exchange.spec.default_model:
        body = upload.named(body, model)
    if exchange.declared_length is None:
        framing = b"transfer-encoding: chunked\r\n"
        body = b"%x\r\n%b\r\n" % (len(body), body) + (_LAST_CHUNK if exchange.complete else b"")
    else:
        framing = b"content-length: %d\r\n" % (exchange.declared_length + len(body) - replaced)
    exchange.wire.read_more(True)
    return [head + exchange.forwarded + b"content-type: %b\r\n%b\r\n" % (exchange.content_type, framing), body]


def parser_for(boundary: bytes, callbacks: MultipartCallbacks) -> MultipartParser:
    """A parser of multipart bodies. Raises :class:`GatewayError` for a boundary that can be none."""
    try:
        return MultipartParser(boundary, callbacks)
    except FormParserError as error:
        raise invalid(f"The multipart boundary can't be used: {error}.", "Content-Type", "invalid_multipart") from None


def boundary_of(content_type: str) -> bytes:
    """What separates the parts of a form. Raises :class:`GatewayError` for another kind of body."""
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        message = f"Expected Content-Type multipart/form-data with a boundary, got '{content_type[:100]}'."
        raise GatewayError(Kind.UNSUPPORTED_MEDIA, "unsupported_media_type", message, "Content-Type")
    return boundary.encode("latin-1", "replace")
