"""Bodies and credentials the gateway refuses: a 4xx that names what was expected, and nothing sent to the provider."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.scenarios.conftest import MAX_BODY
from tests.scenarios.envelope import checked
from tests.scenarios.material import marker
from tests.support.fake_openai import FakeOpenAI
from tests.support.gateway import RunningGateway
from tests.support.raw_http import RawConnection, RawResponse, request

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hi"}]


@dataclass
class Line:
    """One connection to the gateway, on which a good request must still be answered after a bad one."""

    gateway: RunningGateway
    fake: FakeOpenAI
    connection: RawConnection

    def refused(self, data: bytes, method: str = "POST") -> tuple[RawResponse, dict[str, Any]]:
        """The answer to bad ``data`` and its error; asserts all that holds for every refusal."""
        mark = self.fake.recording.mark()
        self.connection.send(data)
        answer = self.connection.response(method)
        assert 400 <= answer.status < 500, answer.body
        error = checked(answer.json)
        self.assert_unharmed()
        assert len(self.fake.recording.since(mark)) == 1
        return answer, error

    def assert_unharmed(self) -> None:
        """A good request on the same connection is answered."""
        said = marker()
        self.connection.send(self.ask({"model": "fake-chat", "messages": [{"role": "user", "content": said}]}))
        answer = self.connection.response()
        assert answer.status == 200, answer.body
        assert answer.json["choices"][0]["message"]["content"] == f"1 messages; {said}"

    def ask(self, body: Any, path: str = CHAT) -> bytes:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return request(path, raw, key=self.gateway.key)


@pytest.fixture
def line(gateway: RunningGateway, fake: FakeOpenAI) -> Iterator[Line]:
    with RawConnection(gateway.address) as connection:
        yield Line(gateway, fake, connection)


def chat(**members: Any) -> dict[str, Any]:
    body = {"model": "fake-chat", "messages": MESSAGES, **members}
    return {name: value for name, value in body.items() if value is not ...}


NOT_JSON = {
    "empty": b"",
    "words": b"hello",
    "cut": b'{"model":"fake-chat","messages":[{"role":"user"',
    "trailing": b'{"model":"fake-chat","messages":[]} and more',
    "two documents": b'{"model":"fake-chat","messages":[{}]}{"model":"fake-chat","messages":[{}]}',
    "list": b'[{"model":"fake-chat"}]',
    "string": b'"fake-chat"',
    "number": b"1",
    "null": b"null",
    "single quotes": b"{'model':'fake-chat','messages':[{}]}",
    "comment": b'{"model":"fake-chat",/* */"messages":[{}]}',
    "trailing comma": b'{"model":"fake-chat","messages":[{}],}',
    "not a number": b'{"model":"fake-chat","messages":[{"role":"user","content":"hi"}],"x":NaN}',
    "control character": b'{"model":"fake-chat","messages":[{"role":"user","content":"a\x00b"}]}',
    "null bytes": b"\x00" * 100,
    "byte order mark": b'\xff\xfe{\x00"\x00m\x00',
    "form": b"model=fake-chat&messages=hi",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_not_a_json_object(line: Line, body: bytes) -> None:
    answer, error = line.refused(line.ask(body))
    assert answer.status == 400
    assert error["type"] == "invalid_request_error"
    assert "JSON" in error["message"] or "body" in error["message"]


INVALID_UTF8 = {
    "lone continuation": b"\x80",
    "overlong": b"\xc0\xaf",
    "surrogate": b"\xed\xa0\x80",
    "cut": b"\xf0\x9f\x91",
    "latin-1": b"Gr\xfc\xdfe",
    "too large": b"\xf5\x80\x80\x80",
}


@pytest.mark.parametrize("text", INVALID_UTF8.values(), ids=INVALID_UTF8.keys())
def test_invalid_utf8(line: Line, text: bytes) -> None:
    for body in (
        b'{"model":"fake-chat","messages":[{"role":"user","content":"%b"}]}' % text,
        b'{"model":"%b","messages":[{"role":"user","content":"hi"}]}' % text,
        b'{"model":"fake-chat","%b":1,"messages":[{"role":"user","content":"hi"}]}' % text,
    ):
        answer, error = line.refused(line.ask(body))
        assert answer.status == 400
        assert "UTF-8" in error["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (chat(model=...), "model"),
        (chat(model=None), "model"),
        (chat(model=""), "model"),
        (chat(model=7), "model"),
        (chat(model=["fake-chat"]), "model"),
        (chat(model={"id": "fake-chat"}), "model"),
        (chat(messages=...), "messages"),
        (chat(messages=None), "messages"),
        (chat(messages=[]), "messages"),
        (chat(messages="hi"), "messages"),
        (chat(messages={"role": "user"}), "messages"),
        (chat(messages=7), "messages"),
        (chat(messages=["hi"]), "messages"),
        (chat(messages=[7]), "messages"),
        (chat(messages=[None]), "messages"),
        (chat(stream="yes"), "stream"),
        (chat(stream=1), "stream"),
        (chat(stream=[]), "stream"),
        (chat(stream=True, stream_options="usage"), "stream_options"),
        (chat(stream=True, stream_options=[1]), "stream_options"),
        (chat(stream=True, stream_options={"include_usage": "yes"}), "stream_options.include_usage"),
        (chat(max_tokens=-1), "max_tokens"),
        (chat(max_tokens="many"), "max_tokens"),
        (chat(max_tokens=1.5), "max_tokens"),
        (chat(max_tokens=True), "max_tokens"),
        (chat(max_tokens=[1]), "max_tokens"),
        (chat(max_tokens=10**12), "max_tokens"),
        (chat(max_tokens=10**40), "max_tokens"),
        (chat(max_completion_tokens=-1), "max_completion_tokens"),
        (chat(max_completion_tokens="many"), "max_completion_tokens"),
        (chat(max_completion_tokens=2**63), "max_completion_tokens"),
        (chat(max_completion_tokens=5, max_tokens=-5), "max_tokens"),
        (chat(n=-1), "n"),
        (chat(n="two"), "n"),
        (chat(n=10**9), "n"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_wrong_members_of_a_chat(line: Line, body: dict[str, Any], param: str) -> None:
    answer, error = line.refused(line.ask(body))
    assert answer.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert param.split(".")[-1] in error["message"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/completions", {"model": "fake-chat"}, "prompt"),
        ("/v1/completions", {"model": "fake-chat", "prompt": {"a": 1}}, "prompt"),
        ("/v1/completions", {"model": "fake-chat", "prompt": []}, "prompt"),
        ("/v1/embeddings", {"model": "fake-embed"}, "input"),
        ("/v1/embeddings", {"model": "fake-embed", "input": []}, "input"),
        ("/v1/embeddings", {"model": "fake-embed", "input": 7}, "input"),
        ("/v1/embeddings", {"input": "hi"}, "model"),
        ("/v1/moderations", {"model": "fake-moderation"}, "input"),
        ("/v1/rerank", {"model": "fake-rerank", "documents": []}, "query"),
        ("/v1/audio/speech", {"model": "fake-speech", "voice": "alloy"}, "input"),
        ("/v1/images/generations", {"model": "fake-image"}, "prompt"),
    ],
)
def test_wrong_members_elsewhere(line: Line, path: str, body: dict[str, Any], param: str) -> None:
    answer, error = line.refused(line.ask(body, path))
    assert answer.status == 400
    assert error["param"] == param


@pytest.mark.parametrize(
    "model",
    ["gpt-99", "fake-chat ", "FAKE-CHAT", "fake/chat", "../fake-chat", "fake-chat\u0000", "🦊", "x" * 100_000],
    ids=lambda name: name[:20].encode("unicode_escape").decode(),
)
def test_unknown_model(line: Line, model: str) -> None:
    answer, error = line.refused(line.ask(chat(model=model)))
    assert answer.status in (400, 404)
    assert error["param"] == "model"
    assert len(answer.body) < 5_000


def test_the_models_that_exist_are_hinted_at(line: Line) -> None:
    answer, error = line.refused(line.ask(chat(model="gpt-99")))
    assert answer.status == 404
    assert error["code"] == "model_not_found"
    assert "gpt-99" in error["message"]


WRONG_CREDENTIALS = {
    "none": {},
    "empty": {"authorization": ""},
    "wrong key without a scheme": {"authorization": "gw_live_scenario_9876543210"},
    "only a scheme": {"authorization": "Bearer"},
    "empty key": {"authorization": "Bearer "},
    "wrong key": {"authorization": "Bearer gw_live_scenario_9876543210"},
    "shorter": {"authorization": "Bearer gw_live_scenario_012345678"},
    "longer": {"authorization": "Bearer gw_live_scenario_01234567890"},
    "another case": {"authorization": "Bearer GW_LIVE_SCENARIO_0123456789"},
    "basic": {"authorization": "Basic Z3dfbGl2ZV9zY2VuYXJpb18wMTIzNDU2Nzg5Og=="},
    "not ASCII": {"authorization": "Bearer gw_live_ü"},
    "very long": {"authorization": "Bearer " + "x" * 10_000},
    "wrong x-api-key": {"x-api-key": "nope"},
    "wrong api-key": {"api-key": "nope"},
    "the provider's key": {"authorization": "Bearer sk-fake-provider-key"},
}


@pytest.mark.parametrize("headers", WRONG_CREDENTIALS.values(), ids=WRONG_CREDENTIALS.keys())
def test_missing_or_wrong_key(line: Line, headers: dict[str, str]) -> None:
    body = json.dumps(chat()).encode()
    answer, error = line.refused(request(CHAT, body, key=None, headers=headers))
    assert answer.status == 401
    assert error["type"] in ("authentication_error", "invalid_request_error")
    assert error["code"] is not None
    for value in headers.values():
        assert len(value) < 20 or value.removeprefix("Bearer ") not in error["message"]


def test_a_wrong_key_is_not_told_whether_the_body_is_good(line: Line) -> None:
    for body in (b"not json", json.dumps(chat(model="no-such-model")).encode()):
        answer, _ = line.refused(request(CHAT, body, key="gw_live_wrong_00000"))
        assert answer.status == 401


def test_a_key_in_two_headers_must_be_right_in_the_one_that_counts(line: Line) -> None:
    body = json.dumps(chat()).encode()
    answer, _ = line.refused(request(CHAT, body, key="gw_live_wrong_00000", headers={"x-api-key": "nope"}))
    assert answer.status == 401


def test_deep_nesting_is_answered(line: Line) -> None:
    # Legal JSON up to a depth, a bomb beyond it; either way an answer and a gateway that lives.
    for depth in (1_000, 100_000, 3_000_000):
        nested = b"[" * depth + b"]" * depth
        body = b'{"model":"fake-chat","messages":[{"role":"user","content":"hi"}],"x":%b}' % nested
        line.connection.send(line.ask(body))
        answer = line.connection.response()
        assert answer.status < 500, answer.body
        if answer.status >= 400:
            checked(answer.json)
        line.assert_unharmed()


def test_unclosed_nesting_is_refused(line: Line) -> None:
    for opening in (b"[", b'{"a":', b'[{"a":'):
        answer, _ = line.refused(line.ask(b'{"model":"fake-chat","messages":' + opening * 500_000))
        assert answer.status == 400


@pytest.mark.parametrize("name", ["model", "stream", "max_tokens", "messages", "stream_options"])
def test_a_duplicate_key_is_refused_or_sent_once(line: Line, name: str) -> None:
    values = {
        "model": ('"fake-chat"', '"no-such-model"'),
        "stream": ("false", "true"),
        "max_tokens": ("5", "5000"),
        "messages": ('[{"role":"user","content":"a"}]', '[{"role":"user","content":"b"}]'),
        "stream_options": ('{"include_usage":true}', '{"include_usage":false}'),
    }
    good = {"model": '"fake-chat"', "messages": '[{"role":"user","content":"hi"}]'} | {name: values[name][0]}
    for twice in (values[name], values[name][::-1]):
        members = [f'"{key}":{value}' for key, value in good.items() if key != name]
        body = "{" + ",".join([*members, *(f'"{name}":{value}' for value in twice)]) + "}"
        mark = line.fake.recording.mark()
        line.connection.send(line.ask(body.encode()))
        answer = line.connection.response()
        assert answer.status < 500
        for seen in line.fake.recording.since(mark):
            assert seen.body.count(f'"{name}":'.encode()) == 1
            assert seen.json["model"] == "fake-chat"
        line.assert_unharmed()


def test_a_key_written_with_escapes_is_the_same_key(line: Line) -> None:
    # A provider reads "\u006dodel" as "model"; the gateway must not let a second model pass in that spelling.
    body = b'{"model":"fake-chat","messages":[{"role":"user","content":"hi"}],"\\u006dodel":"fake-other"}'
    mark = line.fake.recording.mark()
    line.connection.send(line.ask(body))
    answer = line.connection.response()
    for seen in line.fake.recording.since(mark):
        pairs: list[tuple[str, Any]] = json.loads(seen.body, object_pairs_hook=list)
        assert [name for name, _ in pairs].count("model") == 1
        assert answer.json["model"] == dict(pairs)["model"]
    line.assert_unharmed()


def test_a_body_declared_too_large_is_refused_before_it_is_sent(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    mark = fake.recording.mark()
    for size in (MAX_BODY + 1, 10**12, 10**18):
        with RawConnection(gateway.address) as connection:
            head = request(CHAT, b"", key=gateway.key).replace(b"content-length: 0", b"content-length: %d" % size)
            connection.send(head)
            answer = connection.response()
            assert answer.status == 413
            assert str(MAX_BODY) in checked(answer.json)["message"]
    assert fake.recording.since(mark) == []


def test_a_body_that_is_just_small_enough_is_taken(line: Line) -> None:
    text = "x" * (MAX_BODY - len(json.dumps(chat())) + 2)
    line.connection.send(line.ask(chat(messages=[{"role": "user", "content": text}])))
    assert line.connection.response().status == 200


def test_a_chunked_body_that_grows_too_large_is_refused(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    mark = fake.recording.mark()
    with RawConnection(gateway.address) as connection:
        head = request(CHAT, b"", key=gateway.key).replace(b"content-length: 0", b"transfer-encoding: chunked")
        connection.send(head)
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        for _ in range(MAX_BODY // 0x10000 + 2):
            connection.send(chunk)
        answer = connection.response()
        assert answer.status == 413
        checked(answer.json)
    assert fake.recording.since(mark) == []


def test_a_body_that_is_too_large_whole(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    mark = fake.recording.mark()
    with RawConnection(gateway.address) as connection:
        connection.send(request(CHAT, b" " * (MAX_BODY + 1000), key=gateway.key))
        answer = connection.response()
        assert answer.status == 413
        checked(answer.json)
    assert fake.recording.since(mark) == []


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "deflate, gzip", "nonsense"])
def test_a_compressed_body_is_refused(line: Line, encoding: str) -> None:
    body = gzip.compress(json.dumps(chat()).encode())
    answer, _ = line.refused(request(CHAT, body, key=line.gateway.key, headers={"content-encoding": encoding}))
    assert answer.status in (400, 415)
