"""The fields of a whole form: what clients send is read back, and what is none is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane import form
from gateway.dataplane.form import fields_of
from gateway.kernel.errors import GatewayError
from gateway.providers import media
from gateway.providers.base import File

TYPE = "multipart/form-data; boundary=b"
CONTENT = st.binary(max_size=80) | st.sampled_from([b"\r\n", b"\r\n--", b"--b--\r\n", b"\r\n\r\n"])
NAME = st.text("abcdefg_", min_size=1, max_size=8)


def sent(*parts: str) -> bytes:
    return "".join([f"--b\r\n{part}\r\n" for part in parts]).encode() + b"--b--\r\n"


@given(st.dictionaries(NAME, st.text(max_size=30) | CONTENT, min_size=1, max_size=4))
def test_what_is_made_is_read_back(values: dict[str, str | bytes]) -> None:
    fields = [
        (name, value if isinstance(value, str) else File(name, "image/png", value)) for name, value in values.items()
    ]
    content_type, body = media.form(fields)

    assert fields_of(content_type, body) == dict(fields)


def test_what_a_client_sends() -> None:
    files: Any = [
        ("image[]", ("Übung.png", b"one", "image/png")),
        ("image[]", ("two.png", b"\x00\xff", "image/png")),
        ("mask", ("m", b"")),
    ]
    request = httpx.Request("POST", "http://x", data={"n": "2", "k": ["a", "b"]}, files=files)

    assert fields_of(request.headers["content-type"], request.read()) == {
        "n": "2",
        "k": ["a", "b"],
        "image": [File("Übung.png", "image/png", b"one"), File("two.png", "image/png", b"\x00\xff")],
        "mask": File("m", "application/octet-stream", b""),
    }


def test_a_name_in_the_newer_spelling() -> None:
    disposition = "Content-Disposition: form-data; name*=utf-8''x; filename*=utf-8''a%20b.wav"

    assert fields_of(TYPE, sent(f"{disposition}\r\n\r\ny")) == {"x": File("a b.wav", "", b"y")}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (sent("Content-Disposition: form-data\r\n\r\nx"), None),
        (sent("\r\nx"), None),
        (sent('Content-Disposition: form-data; name="a"\r\n\r\nx')[:-8], None),
        (b"--b\r\n\x01\r\n", None),
        (b"", None),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--b--\r\n', "a"),
        (sent(*['Content-Disposition: form-data; name="a"\r\n\r\nx'] * (form.MAX_PARTS + 1)), None),
    ],
    ids=["no name", "no head", "cut", "malformed", "empty", "no text", "too many"],
)
def test_what_is_no_form_is_refused(body: bytes, field: str | None) -> None:
    with pytest.raises(GatewayError) as refused:
        fields_of(TYPE, body)

    assert refused.value.field == field
