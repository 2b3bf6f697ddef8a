"""Multipart and binary bodies: relayed byte for byte, and as they arrive."""

from __future__ import annotations

import hashlib
import random

import httpx
import pytest

from tests.scenarios.conftest import MAX_BODY
from tests.scenarios.envelope import checked
from tests.scenarios.material import marker
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_openai.endpoints import SPEECH_BYTES, image, multipart, speech
from tests.support.gateway import RunningGateway
from tests.support.raw_http import RawConnection, request

# Looks like parts, line ends and boundaries, so that a careless parser stumbles.
AWKWARD = b'\r\n--\r\n\r\n--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nevil\r\n' + bytes(range(256))


def form(boundary: str, model: str, file: bytes, *, model_last: bool = False, **fields: str) -> bytes:
    """A transcription form; the file has a name outside ASCII."""
    model_part = _part(boundary, 'name="model"', model.encode())
    file_part = _part(boundary, 'name="file"; filename="Übung.wav"\r\nContent-Type: audio/wav', file)
    others = b"".join(_part(boundary, f'name="{name}"', value.encode()) for name, value in fields.items())
    parts = others + file_part + model_part if model_last else model_part + others + file_part
    return parts + f"--{boundary}--\r\n".encode()


def _part(boundary: str, disposition: str, content: bytes) -> bytes:
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"


def upload(http: httpx.Client, boundary: str, body: bytes, path: str = "/audio/transcriptions") -> httpx.Response:
    return http.post(path, content=body, headers={"content-type": f"multipart/form-data; boundary={boundary}"})


def heard(file: bytes) -> str:
    return f"{len(file)} bytes, sha256 {hashlib.sha256(file).hexdigest()}"


@pytest.mark.parametrize("model_last", [False, True])
@pytest.mark.parametrize("size", [0, 10, 100_000, 5_000_000])
def test_an_upload_is_relayed_byte_for_byte(http: httpx.Client, fake: FakeOpenAI, model_last: bool, size: int) -> None:
    boundary = marker()
    file = AWKWARD + random.Random(size).randbytes(size)
    body = form(boundary, "fake-transcribe", file, model_last=model_last, language="de", prompt="Grüße")
    answer = upload(http, boundary, body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == heard(file)
    request = fake.recording.wait_started(boundary)
    assert request.body == body
    assert request.header("content-type") == f"multipart/form-data; boundary={boundary}"


@pytest.mark.parametrize("model_last", [False, True])
def test_another_model_name_changes_only_that_part(http: httpx.Client, fake: FakeOpenAI, model_last: bool) -> None:
    boundary = marker()
    body = form(boundary, "renamed-hearing", AWKWARD, model_last=model_last, language="de")
    assert upload(http, boundary, body).json()["text"] == heard(AWKWARD)
    expected = form(boundary, "fake-transcribe", AWKWARD, model_last=model_last, language="de")
    assert fake.recording.wait_started(boundary).body == expected


def test_an_upload_in_chunks(http: httpx.Client, fake: FakeOpenAI) -> None:
    boundary = marker()
    body = form(boundary, "renamed-hearing", AWKWARD * 2000)
    pieces = (body[start : start + 9973] for start in range(0, len(body), 9973))
    answer = http.post(
        "/audio/transcriptions",
        content=pieces,
        headers={"content-type": f"multipart/form-data; boundary={boundary}"},
    )
    assert answer.json()["text"] == heard(AWKWARD * 2000)


def test_an_upload_goes_on_to_the_provider_while_it_arrives(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    boundary = marker()
    file = random.Random(1).randbytes(4_000_000)
    body = form(boundary, "fake-transcribe", file)
    whole = request(
        "/v1/audio/transcriptions",
        body,
        key=gateway.key,
        content_type=f"multipart/form-data; boundary={boundary}",
    )
    half = len(whole) // 2
    with RawConnection(gateway.address) as connection:
        connection.send(whole[:half])
        assert not fake.recording.wait_started(boundary).complete
        connection.send(whole[half:])
        assert connection.response().json["text"] == heard(file)


def test_leaving_in_the_middle_of_an_upload_closes_the_providers_connection(
    gateway: RunningGateway, fake: FakeOpenAI
) -> None:
    boundary = marker()
    whole = request(
        "/v1/audio/transcriptions",
        form(boundary, "fake-transcribe", bytes(2_000_000)),
        key=gateway.key,
        content_type=f"multipart/form-data; boundary={boundary}",
    )
    with RawConnection(gateway.address) as connection:
        connection.send(whole[:1_000_000])
        started = fake.recording.wait_started(boundary)
    fake.recording.wait_closed(started)
    assert not started.complete


def test_a_plain_text_answer(http: httpx.Client) -> None:
    boundary = marker()
    answer = upload(http, boundary, form(boundary, "fake-transcribe", b"abc", response_format="text"))
    assert answer.text == heard(b"abc") + "\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_speech_is_relayed_byte_for_byte(http: httpx.Client) -> None:
    body = {"model": "fake-speech", "voice": "alloy", "input": "Grüß Gott"}
    answer = http.post("/audio/speech", json=body)
    assert answer.headers["content-type"] == "audio/mpeg"
    assert len(answer.content) == SPEECH_BYTES
    assert answer.content == speech(body)


def test_image_edits(http: httpx.Client, fake: FakeOpenAI) -> None:
    answer = http.post(
        "/images/edits",
        data={"model": "fake-image", "prompt": "ein Hut", "n": "2"},
        files={"image": ("a.png", AWKWARD, "image/png")},
    )
    assert answer.json() == image("ein Hut", 2, AWKWARD)
    last = fake.recording.requests[-1]
    assert multipart(last.body, last.header("content-type") or "")["image"] == AWKWARD


@pytest.mark.parametrize(
    ("model", "status"), [("no-such-model", 404), ("", 400), ("x" * 100_000, 400)], ids=["unknown", "empty", "huge"]
)
def test_a_bad_model_is_refused_before_anything_is_sent(
    http: httpx.Client, fake: FakeOpenAI, model: str, status: int
) -> None:
    mark = fake.recording.mark()
    boundary = marker()
    answer = upload(http, boundary, form(boundary, model, AWKWARD))
    assert answer.status_code in (status, 404)
    assert checked(answer.json())["param"] == "model"
    assert fake.recording.since(mark) == []


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=other",
        "multipart/form-data; boundary=" + "b" * 300,
        "application/json",
        "text/plain",
    ],
)
def test_a_body_that_is_no_form_is_refused(http: httpx.Client, fake: FakeOpenAI, content_type: str) -> None:
    mark = fake.recording.mark()
    answer = http.post(
        "/audio/transcriptions", content=form("b", "fake-transcribe", b"abc"), headers={"content-type": content_type}
    )
    assert 400 <= answer.status_code < 500
    checked(answer.json())
    assert fake.recording.since(mark) == []


def test_a_form_without_a_model_is_refused(http: httpx.Client, fake: FakeOpenAI) -> None:
    mark = fake.recording.mark()
    answer = http.post("/audio/transcriptions", files={"file": ("a.wav", b"abc")})
    assert answer.status_code == 400
    assert checked(answer.json())["param"] == "model"
    assert fake.recording.since(mark) == []


def test_an_upload_that_is_too_large_is_refused(http: httpx.Client) -> None:
    boundary = marker()
    answer = upload(http, boundary, form(boundary, "fake-transcribe", bytes(MAX_BODY)))
    assert answer.status_code == 413
    checked(answer.json())
