"""Multipart bodies: the model is found wherever it stands and however the body is cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.upload import Upload
from gateway.kernel.errors import GatewayError

BOUNDARY = "bOuNdArY-7"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
MODEL = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="\x7f"), min_size=1, max_size=30
)
CONTENT = st.binary(max_size=60) | st.sampled_from(
    [b"\r\n", b"\r\n--", b"\r\n--bOuNdAr", b"model", b"--" + BOUNDARY.encode()[:-1]]
)


def part(name: str, value: bytes, *lines: str, disposition: str = "form-data; name=") -> bytes:
    head = "\r\n".join([f'Content-Disposition: {disposition}"{name}"', *lines])
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def feed(body: bytes, places: list[int] | None = None, content_type: str = TYPE) -> Upload:
    upload = Upload(content_type)
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in places or [])})
    for start, end in itertools.pairwise(edges):
        upload.feed(body[start:end])
    return upload


@given(
    MODEL,
    st.lists(st.tuples(st.sampled_from(["file", "prompt", "language", "modelx"]), CONTENT), max_size=4),
    st.integers(0, 4),
    st.lists(st.integers(0, 5000), max_size=20),
)
def test_the_model_is_found_wherever_it_stands(
    model: str, others: list[tuple[str, bytes]], place: int, places: list[int]
) -> None:
    parts = [part(name, value, "Content-Type: audio/wav") for name, value in others]
    parts.insert(place, part("model", model.encode()))
    body = form(*parts)
    upload = feed(body, places)
    assert upload.model == model
    first, last = upload.span
    assert body[first:last] == model.encode()
    assert feed(body, list(range(len(body)))).span == upload.span


def test_the_model_is_known_as_soon_as_its_part_has_ended() -> None:
    upload = Upload(TYPE)
    upload.feed(part("model", b"whisper"))
    assert upload.model is None
    upload.feed(f"--{BOUNDARY}\r\n".encode())
    assert upload.model == "whisper"


def test_a_form_without_a_model() -> None:
    assert feed(form(part("file", b"x"))).model is None


def refusal(body: bytes, content_type: str = TYPE) -> GatewayError:
    with pytest.raises(GatewayError) as error:
        feed(body, content_type=content_type)
    return error.value


def test_a_second_model_is_refused() -> None:
    error = refusal(form(part("model", b"cheap"), part("file", b"x"), part("model", b"dear")))
    assert (error.code, error.field) == ("duplicate_parameter", "model")


@pytest.mark.parametrize(
    "second",
    [
        part("model", b"dear", disposition="form-data; filename=x; name="),
        part("model", b"dear", disposition="form-data; NAME="),
        part("model", b"dear").replace(b'"model"', b"model"),
        part("model", b"dear").replace(b'name="model"', b"name*=utf-8''model"),
        part("model", b"dear").replace(b"Content-Disposition", b"content-disposition"),
        part("model", b"dear", 'Content-Disposition: form-data; name="other"'),
        part("other", b"dear", 'Content-Disposition: form-data; name="model"'),
    ],
)
def test_no_spelling_hides_a_second_model(second: bytes) -> None:
    error = refusal(form(part("model", b"cheap"), second))
    assert error.code in ("duplicate_parameter", "invalid_multipart")


def test_an_empty_model_is_refused() -> None:
    error = refusal(form(part("model", b"")))
    assert error.field == "model"


def test_a_long_model_is_refused() -> None:
    error = refusal(form(part("model", b"m" * 513)))
    assert error.field == "model"


@pytest.mark.parametrize(
    "body",
    [
        b"no multipart at all",
        b"--other\r\n\r\n",
        f"--{BOUNDARY}\r\nbad header line\r\n\r\n".encode(),
        f"--{BOUNDARY}\r\nx: {'a' * 9000}\r\n\r\n".encode(),
        f"--{BOUNDARY}\r\n{'x' * 9000}: a\r\n\r\n".encode(),
        f"--{BOUNDARY}xx\r\n".encode(),
    ],
)
def test_malformed_bodies_are_refused(body: bytes) -> None:
    assert refusal(body).code == "invalid_multipart"


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=x", "multipart/form-data; boundary="],
)
def test_other_content_types_are_refused(content_type: str) -> None:
    assert refusal(b"", content_type).field == "Content-Type"


def test_an_overlong_boundary_is_refused() -> None:
    assert refusal(b"", f"multipart/form-data; boundary={'b' * 5000}").code == "invalid_multipart"


@given(st.binary(max_size=80), st.lists(st.integers(0, 80), max_size=5))
def test_any_bytes_are_taken_or_refused_and_nothing_else(noise: bytes, places: list[int]) -> None:
    body = f"--{BOUNDARY}\r\n".encode() + noise
    try:
        feed(body, places)
    except GatewayError as error:
        assert error.message  # noqa: PT017
