"""Random input over raw sockets: the gateway never answers with an error of its own making, never dies, never leaks."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.scenarios.envelope import checked
from tests.support.fake_openai import FakeOpenAI
from tests.support.gateway import RunningGateway
from tests.support.raw_http import RawConnection, RawResponse, request

CHAT = "/v1/chat/completions"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    # The gateway is the same for all examples; each uses connections of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
BODY: dict[str, Any] = {
    "model": "fake-chat",
    "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "hi", "name": "a"}],
    "stream": False,
    "max_tokens": 5,
    "n": 1,
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "temperature": 0.5,
    "metadata": {"a": "b"},
}
# Values that have broken parsers.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 0, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["", "\0", "\ud7ff", "fake-chat", "fake-other", "stream", "💥" * 50, "a" * 5_000]),
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/moderations", "/v1/rerank"]
PATHS += ["/v1/audio/speech", "/v1/images/generations", "/v1/audio/transcriptions", "/chat/completions"]


@st.composite
def mutated_documents(draw: st.DrawFn) -> dict[str, Any]:
    """The valid body with some members replaced, dropped, renamed, or added."""
    body: dict[str, Any] = json.loads(json.dumps(BODY))
    for _ in range(draw(st.integers(1, 3))):
        change = draw(st.sampled_from(["replace", "drop", "add", "inner"]))
        name = draw(st.sampled_from(sorted(BODY)))
        if change == "drop":
            body.pop(name, None)
        elif change == "add":
            body[draw(st.text(max_size=8))] = draw(JSON)
        elif change == "inner" and isinstance(body.get("messages"), list):
            body["messages"].append(draw(JSON))
        else:
            body[name] = draw(JSON)
    return body


@st.composite
def mutated_bytes(draw: st.DrawFn, valid: bytes) -> bytes:
    """``valid`` with some bytes changed, cut out, doubled or put in."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(data) - 1)))
        end = min(len(data), start + draw(st.integers(1, 12)))
        kind = draw(st.sampled_from(["flip", "cut", "double", "insert"]))
        if kind == "flip" and data:
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[start:end]
        elif kind == "double":
            data[start:start] = data[start:end]
        else:
            data[start:start] = draw(st.binary(min_size=1, max_size=8) | st.sampled_from(TROUBLE))
    return bytes(data)


TROUBLE = [b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n", b" ", b"\t", b":", b"\xff", b"0\r\n\r\n", b"{", b"}", b'"', b"\\"]
TROUBLE += [b"transfer-encoding: chunked\r\n", b"content-length: 3\r\n", b"expect: 100-continue\r\n", b"\xed\xa0\x80"]


def assert_fair(answer: RawResponse) -> None:
    """Not an error of the gateway's own making, and an envelope where it is an error."""
    assert answer.status < 500, answer.body
    if answer.status >= 400:
        checked(answer.json)


def assert_alive(gateway: RunningGateway, connection: RawConnection | None = None) -> None:
    """A good request is answered by the same process, on ``connection`` where one is given."""
    body = json.dumps({"model": "fake-chat", "messages": [{"role": "user", "content": "alive?"}]}).encode()
    if connection is None:
        with RawConnection(gateway.address) as fresh:
            assert_alive(gateway, fresh)
        return
    connection.send(request(CHAT, body, key=gateway.key))
    answer = connection.response()
    assert answer.status == 200, answer.body
    assert answer.json["choices"][0]["message"]["content"] == "1 messages; alive?"
    assert gateway.process.poll() is None


@FUZZ
@given(body=mutated_documents(), path=st.sampled_from(PATHS))
def test_documents_of_another_shape(gateway: RunningGateway, fake: FakeOpenAI, body: dict[str, Any], path: str) -> None:
    mark = fake.recording.mark()
    with RawConnection(gateway.address) as connection:
        connection.send(request(path, json.dumps(body).encode(), key=gateway.key))
        answer = connection.response()
        seen = fake.recording.since(mark)
        # What the provider says to a body that the gateway may pass on is the provider's.
        if not seen:
            assert_fair(answer)
            assert answer.status >= 400
        assert len(seen) <= 1
        for each in seen:
            assert {**body, "stream_options": None} == {**each.json, "stream_options": None}
        assert_alive(gateway, connection)


@FUZZ
@given(body=mutated_bytes(json.dumps(BODY).encode()))
def test_bodies_with_changed_bytes(gateway: RunningGateway, fake: FakeOpenAI, body: bytes) -> None:
    mark = fake.recording.mark()
    with RawConnection(gateway.address) as connection:
        connection.send(request(CHAT, body, key=gateway.key))
        answer = connection.response()
        seen = fake.recording.since(mark)
        if not seen:
            assert_fair(answer)
            assert answer.status >= 400
        for each in seen:
            assert json.loads(body)["model"] == each.json["model"]
        assert_alive(gateway, connection)


@FUZZ
@given(data=st.data())
def test_requests_with_changed_bytes(gateway: RunningGateway, fake: FakeOpenAI, data: st.DataObject) -> None:
    said = b'{"model":"fake-chat","messages":[{"role":"user","content":"hi"}]}'
    valid = request(CHAT, said, key=gateway.key, headers={"x-a": "b"})
    mutated = data.draw(mutated_bytes(valid))
    mark = fake.recording.mark()
    with RawConnection(gateway.address) as connection:
        connection.send(mutated)
        if not connection.wait_readable(0.05):
            connection.finish()
        while (answer := connection.optional_response()) is not None:
            assert answer.status < 506
            assert answer.status not in (500, 502, 503, 504), answer.body
            if not connection.wait_readable(0.05):
                connection.finish()
    for each in fake.recording.since(mark):
        assert each.method == "POST"
        assert each.path == CHAT
        assert gateway.key not in repr(each.headers)
    assert_alive(gateway)


@FUZZ
@given(noise=st.binary(max_size=2_000))
def test_noise(gateway: RunningGateway, fake: FakeOpenAI, noise: bytes) -> None:
    before = fake.recording.mark()
    with RawConnection(gateway.address) as connection:
        connection.send(noise)
        connection.finish()
        while (answer := connection.optional_response()) is not None:
            assert_fair(answer)
    assert fake.recording.since(before) == []
    assert_alive(gateway)


@FUZZ
@given(cuts=st.lists(st.integers(1, 400), max_size=20), stream=st.booleans())
def test_any_cut_into_segments_reads_the_same(gateway: RunningGateway, cuts: list[int], stream: bool) -> None:
    body = json.dumps({"model": "fake-chat", "messages": [{"role": "user", "content": "Grüß 👋"}], "stream": stream})
    valid = request(CHAT, body.encode(), key=gateway.key)
    with RawConnection(gateway.address) as connection:
        start = 0
        for end in [*sorted(cut for cut in cuts if cut < len(valid)), len(valid)]:
            connection.send(valid[start:end])
            start = end
        answer = connection.response()
        assert answer.status == 200
        assert "Grüß".encode() in answer.body
        assert_alive(gateway, connection)
