"""The form a file is uploaded with (RFC 7578), read as it arrives: fields are kept, the file's bytes are handed on."""

from __future__ import annotations

from email.message import Message
from typing import Final

from python_multipart.exceptions import FormParserError

from gateway.dataplane.body import invalid
from gateway.dataplane.upload import boundary_of, parser_for
from gateway.kernel.errors import GatewayError

MAX_FIELD_BYTES: Final = 1_024
MAX_FILENAME: Final = 255
"""Characters of a file's name; a longer one is cut."""
_FIELDS: Final = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
_MAX_HEADER: Final = 8_192


class Form:
    """``fields`` by name, ``filename``, and in ``arrived`` the bytes of the file since they were last :meth:`taken`.

    ``is_complete``: the form's end was read.
    """

    def __init__(self, content_type: str) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.size = 0
        self.is_complete = False
        self.arrived = bytearray()
        self._name = ""
        self._value = bytearray()
        self._header = bytearray()
        self._header_value = bytearray()
        self._parser = parser_for(
            boundary_of(content_type),
            {
                "on_part_begin": self._part_begin,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._header_end,
                "on_end": self._end,
            },
        )

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises :class:`GatewayError` naming the field that is wrong."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed(f"The multipart body is malformed: {error}.") from None

    def taken(self) -> bytes:
        """What has arrived of the file; it is not kept here any longer."""
        data, self.arrived = bytes(self.arrived), bytearray()
        return data

    def _part_begin(self) -> None:
        self._name = ""
        self._value.clear()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        _grow(self._header, data[start:end], _MAX_HEADER, "A header of a multipart part")

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        _grow(self._header_value, data[start:end], _MAX_HEADER, "A header of a multipart part")

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            header = Message()
            header["content-disposition"] = self._header_value.decode("utf-8", "replace")
            self._name = _param(header, "name")
            if self._name == "file":
                if self.filename is not None:
                    raise invalid("The form holds 'file' more than once.", "file", "duplicate_parameter")
                self.filename = _param(header, "filename")[:MAX_FILENAME] or "file"
            elif self._name not in _FIELDS:
                expected = ", ".join(("file", *_FIELDS))
                message = f"Unknown field '{self._name[:100]}': expected one of {expected}."
                raise invalid(message, self._name[:100], "unknown_parameter")
            elif self._name in self.fields:
                raise invalid(f"The form holds '{self._name}' more than once.", self._name, "duplicate_parameter")
        self._header.clear()
        self._header_value.clear()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            self.arrived += data[start:end]
            self.size += end - start
        else:
            _grow(self._value, data[start:end], MAX_FIELD_BYTES, f"'{self._name}'")

    def _part_end(self) -> None:
        if not self._name:
            raise _malformed("A part of the multipart body has no name.")
        if self._name != "file":
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self.is_complete = True


def _param(header: Message, name: str) -> str:
    value = header.get_param(name, "", "content-disposition")
    return value[2] if isinstance(value, tuple) else str(value)  # filename*=utf-8''… (RFC 2231)


def _grow(buffer: bytearray, data: bytes, most: int, what: str) -> None:
    if len(buffer) + len(data) > most:
        raise _malformed(f"{what} is too long: at most {most} bytes.")
    buffer += data


def _malformed(message: str) -> GatewayError:
    return invalid(message, code="invalid_multipart")
