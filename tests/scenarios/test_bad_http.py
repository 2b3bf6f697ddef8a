"""HTTP that no proper client sends: refused by status or by closing, never passed on, never fatal."""

from __future__ import annotations

import json
import random

import pytest

from tests.scenarios.envelope import checked
from tests.scenarios.material import marker
from tests.support.fake_openai import FakeOpenAI
from tests.support.gateway import RunningGateway
from tests.support.raw_http import RawConnection, RawResponse, request

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "fake-chat", "messages": [{"role": "user", "content": "hi"}]}).encode()
SMUGGLED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: smuggled\r\n\r\n"


def head(gateway: RunningGateway, *lines: bytes, first: bytes = b"POST /v1/chat/completions HTTP/1.1") -> bytes:
    key = b"authorization: Bearer " + gateway.key.encode()
    common = [b"host: gateway.test", key, b"content-type: application/json"]
    return b"\r\n".join([first, *common, *lines, b"", b""])


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def talk(gateway: RunningGateway, data: bytes, *, patience: float = 0.25) -> list[RawResponse]:
    """Every answer to ``data`` on one connection.

    The client says that it will send nothing more only after ``patience`` seconds without an answer: a gateway takes
    that for leaving.
    """
    answers = []
    with RawConnection(gateway.address) as connection:
        connection.send(data)
        if not connection.wait_readable(patience):
            connection.finish()
        while (answer := connection.optional_response()) is not None:
            answers.append(answer)
            if not connection.wait_readable(patience):
                connection.finish()
    return answers


def assert_alive(gateway: RunningGateway, fake: FakeOpenAI, mark: int) -> None:
    """Nothing was sent to the provider since ``mark``, and a good request is answered by the same process."""
    said = marker()
    body = json.dumps({"model": "fake-chat", "messages": [{"role": "user", "content": said}]}).encode()
    with RawConnection(gateway.address) as connection:
        connection.send(request(CHAT, body, key=gateway.key))
        assert connection.response().status == 200
    assert [said.encode() in seen.body for seen in fake.recording.since(mark)] == [True]
    assert gateway.process.poll() is None


SMUGGLING = {
    "length and chunked": [b"content-length: %d" % len(BODY), b"transfer-encoding: chunked"],
    "chunked and length": [b"transfer-encoding: chunked", b"content-length: 6"],
    "two lengths": [b"content-length: %d" % len(BODY), b"content-length: 6"],
    "length list": [b"content-length: %d, 6" % len(BODY)],
    "negative length": [b"content-length: -1"],
    "signed length": [b"content-length: +%d" % len(BODY)],
    "hexadecimal length": [b"content-length: 0x40"],
    "length with a space": [b"content-length : %d" % len(BODY)],
    "length of words": [b"content-length: many"],
    "length beyond 64 bits": [b"content-length: 99999999999999999999999999"],
    "folded": [b"transfer-encoding:\r\n chunked"],
    "folded header": [b"x-folded: a\r\n b", b"content-length: %d" % len(BODY)],
    "unknown coding": [b"transfer-encoding: gzip"],
    "chunked is not last": [b"transfer-encoding: chunked, gzip"],
    "chunked twice": [b"transfer-encoding: chunked, chunked"],
    "odd coding": [b"transfer-encoding: xchunked"],
    "vertical tab": [b"transfer-encoding: \x0bchunked"],
    "NUL in a value": [b"x-a: b\x00c", b"content-length: %d" % len(BODY)],
    "NUL in a name": [b"x-\x00a: b", b"content-length: %d" % len(BODY)],
    "name with a space": [b"x a: b", b"content-length: %d" % len(BODY)],
    "no colon": [b"nonsense", b"content-length: %d" % len(BODY)],
    "empty name": [b": nonsense", b"content-length: %d" % len(BODY)],
}


@pytest.mark.parametrize("lines", SMUGGLING.values(), ids=SMUGGLING.keys())
@pytest.mark.parametrize("body", [BODY, chunked(BODY)], ids=["plain body", "chunked body"])
def test_framing_that_two_readers_could_read_differently(
    gateway: RunningGateway, fake: FakeOpenAI, lines: list[bytes], body: bytes
) -> None:
    mark = fake.recording.mark()
    answers = talk(gateway, head(gateway, *lines) + body + SMUGGLED)
    assert all(400 <= answer.status < 500 for answer in answers), [answer.status for answer in answers]
    assert len(answers) <= 1
    assert_alive(gateway, fake, mark)


CHUNKS = {
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "words": b"many\r\nabc\r\n0\r\n\r\n",
    "negative": b"-3\r\nabc\r\n0\r\n\r\n",
    "prefixed": b"0x3\r\nabc\r\n0\r\n\r\n",
    "overflow": b"ffffffffffffffff1\r\nabc\r\n0\r\n\r\n",
    "size too small": b"2\r\nabc\r\n0\r\n\r\n",
    "size too large": b"9\r\nabc\r\n0\r\n\r\n",
    "no line end after data": b"3\r\nabc0\r\n\r\n",
    "bare line feeds": b"3\nabc\n0\n\n",
    "bare returns": b"3\rabc\r0\r\r",
    "space before size": b" 3\r\nabc\r\n0\r\n\r\n",
    "NUL in extension": b"3;\x00\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS.keys())
def test_bad_chunks(gateway: RunningGateway, fake: FakeOpenAI, body: bytes) -> None:
    mark = fake.recording.mark()
    answers = talk(gateway, head(gateway, b"transfer-encoding: chunked") + body)
    assert all(400 <= answer.status < 500 for answer in answers), [answer.status for answer in answers]
    assert len(answers) <= 1
    assert_alive(gateway, fake, mark)


FIRST_LINES = {
    "nothing": b"",
    "words": b"hello there",
    "method only": b"POST",
    "no version": b"POST /v1/chat/completions",
    "unknown version": b"POST /v1/chat/completions HTTP/9.9",
    "HTTP/2 preface": b"PRI * HTTP/2.0",
    "lower case": b"post /v1/chat/completions http/1.1",
    "unknown method": b"BREW /v1/chat/completions HTTP/1.1",
    "NUL in the path": b"POST /v1/chat/\x00completions HTTP/1.1",
    "space in the path": b"POST /v1/chat/ completions HTTP/1.1",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("first", FIRST_LINES.values(), ids=FIRST_LINES.keys())
def test_bad_request_lines(gateway: RunningGateway, fake: FakeOpenAI, first: bytes) -> None:
    mark = fake.recording.mark()
    answers = talk(gateway, head(gateway, b"content-length: %d" % len(BODY), first=first) + BODY)
    assert all(400 <= answer.status < 506 and answer.status != 500 for answer in answers)
    assert_alive(gateway, fake, mark)


PATHS = {
    "dots": "/v1/../v1/chat/completions",
    "encoded dots": "/v1/%2e%2e/v1/chat/completions",
    "double slash": "//v1/chat/completions",
    "slash at the end": "/v1/chat/completions/",
    "encoded slash": "/v1%2fchat/completions",
    "bad escape": "/v1/chat/%zzcompletions",
    "NUL escape": "/v1/chat/completions%00",
    "not UTF-8": "/v1/%ff%fe",
    "backslash": "/v1\\chat\\completions",
    "absolute": "http://elsewhere.test/v1/chat/completions/x",
    "star": "*",
    "very long": "/v1/" + "a" * 50_000,
    "very deep": "/a" * 20_000,
    "long query": "/v1/nothing?" + "a=b&" * 10_000,
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_absurd_paths(gateway: RunningGateway, fake: FakeOpenAI, path: str) -> None:
    mark = fake.recording.mark()
    answers = talk(gateway, request(path, BODY, key=gateway.key))
    assert [400 <= answer.status < 500 for answer in answers] == [True]
    checked(answers[0].json)
    assert_alive(gateway, fake, mark)


BOMBS = {
    "many headers": b"".join(b"x-h%d: v\r\n" % i for i in range(5_000)),
    "one long value": b"x-long: " + b"v" * 1_000_000 + b"\r\n",
    "one long name": b"x-" + b"n" * 1_000_000 + b": v\r\n",
    "many long": b"".join(b"x-h%d: %b\r\n" % (i, b"v" * 8_000) for i in range(100)),
}


@pytest.mark.parametrize("lines", BOMBS.values(), ids=BOMBS.keys())
def test_header_bombs(gateway: RunningGateway, fake: FakeOpenAI, lines: bytes) -> None:
    mark = fake.recording.mark()
    good = request(CHAT, BODY, key=gateway.key)
    start, _, rest = good.partition(b"\r\n")
    answers = talk(gateway, start + b"\r\n" + lines + rest)
    assert len(answers) <= 1
    for answer in answers:
        assert answer.status in (400, 431)
        checked(answer.json)
    assert_alive(gateway, fake, mark)


def test_a_head_that_never_ends(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    mark = fake.recording.mark()
    with RawConnection(gateway.address) as connection:
        connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n")
        for _ in range(200):
            connection.send(b"x-more: " + b"v" * 10_000 + b"\r\n")
        answer = connection.optional_response()
        assert answer is None or answer.status in (400, 431)
    assert_alive(gateway, fake, mark)


def test_a_body_cut_short(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    mark = fake.recording.mark()
    whole = request(CHAT, BODY, key=gateway.key)
    for length in range(0, len(whole), 7):
        assert all(answer.status < 500 for answer in talk(gateway, whole[:length], patience=0))
    assert_alive(gateway, fake, mark)


def test_bytes_one_by_one(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    with RawConnection(gateway.address) as connection:
        for byte in request(CHAT, BODY, key=gateway.key):
            connection.send(bytes([byte]))
        assert connection.response().status == 200


def test_http_1_0(gateway: RunningGateway) -> None:
    first = b"POST /v1/chat/completions HTTP/1.0"
    length = b"content-length: %d" % len(BODY)
    answers = talk(gateway, head(gateway, length, first=first) + BODY)
    assert [answer.status for answer in answers] == [200]
    assert "transfer-encoding" not in answers[0].headers
    stream = BODY[:-1] + b',"stream":true}'
    answers = talk(gateway, head(gateway, b"content-length: %d" % len(stream), first=first) + stream)
    assert [answer.status for answer in answers] == [200]
    assert "transfer-encoding" not in answers[0].headers
    assert answers[0].body.endswith(b"data: [DONE]\n\n")


def test_pipelined_requests_are_answered_in_order(gateway: RunningGateway) -> None:
    texts = [marker() for _ in range(12)]
    bodies = [
        json.dumps(
            {"model": "fake-chat", "messages": [{"role": "user", "content": text}], "stream": position % 3 == 1}
        ).encode()
        for position, text in enumerate(texts)
    ]
    with RawConnection(gateway.address) as connection:
        connection.send(b"".join(request(CHAT, body, key=gateway.key) for body in bodies))
        answers = [connection.response() for _ in texts]
    for text, answer in zip(texts, answers, strict=True):
        assert answer.status == 200
        assert text.encode() in answer.body


def test_good_bad_and_other_requests_pipelined(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    mark = fake.recording.mark()
    requests = [
        (request(CHAT, BODY, key=gateway.key), 200),
        (request(CHAT, b"nonsense", key=gateway.key), 400),
        (request("/v1/models", method="GET", key=gateway.key), 200),
        (request(CHAT, BODY, key="gw_live_wrong_00000"), 401),
        (request("/nothing", method="GET", key=gateway.key), 404),
        (request(CHAT, BODY, key=gateway.key), 200),
    ]
    with RawConnection(gateway.address) as connection:
        connection.send(b"".join(data for data, _ in requests))
        assert [connection.response().status for _ in requests] == [status for _, status in requests]
    assert len(fake.recording.since(mark)) == 2


def test_noise(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    mark = fake.recording.mark()
    noise = random.Random(7)
    for size in (1, 10, 100, 10_000, 300_000):
        assert all(400 <= answer.status < 500 for answer in talk(gateway, noise.randbytes(size)))
    assert_alive(gateway, fake, mark)


def test_a_connection_that_says_nothing(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    mark = fake.recording.mark()
    assert talk(gateway, b"") == []
    assert_alive(gateway, fake, mark)
