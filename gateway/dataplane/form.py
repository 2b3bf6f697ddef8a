"""The fields of a whole form (RFC 7578), for providers that take no form or another one."""

from __future__ import annotations

from email.message import Message
from typing import Any, Final

from python_multipart.exceptions import FormParserError

from gateway.dataplane.body import invalid
from gateway.dataplane.upload import boundary_of, parser_for
from gateway.providers.base import File, Json

MAX_PARTS: Final = 256
"""Parts of one form; OpenAI's take at most a few dozen."""


def fields_of(content_type: str, body: bytes) -> Json:
    """Every field by its name: a text, a :class:`~gateway.providers.base.File`, or a list of these where it came more
    than once or its name ends in ``[]``, which is left off. Raises
    :class:`~gateway.kernel.errors.GatewayError` where the body is no such form.
    """
    reader = _Reader(content_type)
    reader.read(body)
    return reader.fields


class _Reader:
    """Collects the parts of one form."""

    def __init__(self, content_type: str) -> None:
        self.fields: Json = {}
        self._head: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._header = self._value = b""
        self._parts = 0
        self._is_complete = False
        self._parser = parser_for(
            boundary_of(content_type),
            {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._header_end,
                "on_end": self._complete,
            },
        )

    def read(self, body: bytes) -> None:
        """The whole form."""
        try:
            self._parser.write(body)
        except FormParserError as error:
            raise _malformed(f"The multipart body is malformed: {error}.") from None
        if not self._is_complete:
            raise _malformed("The multipart body ends in the middle.")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _malformed(f"The form has more than {MAX_PARTS} parts.")
        self._head = {}
        self._pieces = []

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._head[self._header.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._header = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _end(self) -> None:
        told = Message()
        told["content-disposition"] = self._head.get("content-disposition", "")
        name, filename = _param(told, "name"), _param(told, "filename")
        if not name:
            raise _malformed("A part of the multipart body has no name.")
        data = b"".join(self._pieces)
        self._pieces = []
        value: Any = File(filename or "", self._head.get("content-type", ""), data)
        if filename is None:
            try:
                value = data.decode()
            except UnicodeDecodeError:
                raise invalid(f"The field '{name[:100]}' is not valid UTF-8.", name[:100]) from None
        self._add(name, value)

    def _add(self, name: str, value: Any) -> None:
        is_list = name.endswith("[]")
        name = name.removesuffix("[]")
        before = self.fields.get(name)
        if before is None:
            self.fields[name] = [value] if is_list else value
        elif isinstance(before, list):
            before.append(value)
        else:
            self.fields[name] = [before, value]

    def _complete(self) -> None:
        self._is_complete = True


def _param(header: Message, name: str) -> str | None:
    value = header.get_param(name, None, "content-disposition")
    return value[2] if isinstance(value, tuple) else value  # filename*=utf-8''… (RFC 2231)


def _malformed(message: str) -> Exception:
    return invalid(message, code="invalid_multipart")
