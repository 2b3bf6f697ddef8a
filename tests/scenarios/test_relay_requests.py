"""What the provider gets: the client's own bytes, but for ``model`` and ``stream_options``."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.scenarios.conftest import GATEWAY_KEY, Endpoint
from tests.scenarios.material import marker
from tests.support.fake_openai import KEY, FakeOpenAI, Recorded

# Numbers, escapes and members that decoding and encoding again would change.
DELICATE = (
    '"one":1.0,"huge":1e400,"big":123456789012345678901234567890,"minus":-0.0,"exponent":2E+3,'
    '"escapes":"\\u00e9\\/\\ud83d\\ude00\\u0000é👋","inner":[ 1 , 2.50 ],"nothing":null,"temperature":0.70'
)


def body_of(model: str, said: str, more: str = "") -> bytes:
    """A compact body whose members come in an unusual order."""
    messages = f'"messages":[{{"role":"user","content":"{said}"}}]'
    return f'{{"x_first":{{"a" :1}},"model":"{model}",{more}{DELICATE},{messages}}}'.encode()


def post(http: httpx.Client, body: bytes, path: str = "/chat/completions", **headers: str) -> httpx.Response:
    return http.post(path, content=body, headers={"content-type": "application/json", **headers})


def seen(fake: FakeOpenAI, said: str) -> Recorded:
    return fake.recording.wait_request(said)


def test_a_body_that_needs_no_change_is_not_changed(http: httpx.Client, fake: FakeOpenAI) -> None:
    said = marker()
    body = body_of("fake-chat", said)
    assert post(http, body).status_code == 200
    assert seen(fake, said).body == body


def test_white_space_is_changed_between_top_level_members_only(http: httpx.Client, fake: FakeOpenAI) -> None:
    said = marker()
    messages = json.dumps([{"role": "user", "content": said}], indent=3)
    assert post(http, f'{{ "model" : "fake-chat",\n\t"messages": {messages} }}'.encode()).status_code == 200
    assert seen(fake, said).body == f'{{"model":"fake-chat","messages":{messages}}}'.encode()


def test_another_model_name_changes_only_the_model(http: httpx.Client, fake: FakeOpenAI) -> None:
    said = marker()
    assert post(http, body_of("renamed", said)).status_code == 200
    assert seen(fake, said).body == body_of("fake-chat", said)


def test_a_stream_asks_for_usage_and_changes_nothing_else(http: httpx.Client, fake: FakeOpenAI) -> None:
    said = marker()
    assert post(http, body_of("fake-chat", said, '"stream":true,')).status_code == 200
    got = seen(fake, said).body
    for asked in (b'"stream_options":{"include_usage":true},', b',"stream_options":{"include_usage":true}'):
        got = got.replace(asked, b"", 1)
    assert got == body_of("fake-chat", said, '"stream":true,')
    assert seen(fake, said).json["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("options", ['{"include_usage":false,"x_other":1.0}', '{"x_other":1.0}', "null", "{}"])
def test_other_stream_options_survive(http: httpx.Client, fake: FakeOpenAI, options: str) -> None:
    said = marker()
    assert post(http, body_of("fake-chat", said, f'"stream":true,"stream_options":{options},')).status_code == 200
    assert seen(fake, said).json["stream_options"] == {**(json.loads(options) or {}), "include_usage": True}
    assert ('"x_other":1.0' in options) == (b'"x_other":1.0' in seen(fake, said).body)


def test_a_stream_that_asks_for_usage_itself_is_not_changed(http: httpx.Client, fake: FakeOpenAI) -> None:
    said = marker()
    body = body_of("fake-chat", said, '"stream":true,"stream_options":{"include_usage":true,"x":1.0},')
    assert post(http, body).status_code == 200
    assert seen(fake, said).body == body


def test_a_plain_request_gets_no_stream_options(http: httpx.Client, fake: FakeOpenAI) -> None:
    said = marker()
    assert post(http, body_of("fake-chat", said, '"stream":false,')).status_code == 200
    assert "stream_options" not in seen(fake, said).json


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/embeddings", '"input":"%s"'),
        ("/completions", '"prompt":"%s"'),
        ("/moderations", '"input":"%s"'),
        ("/rerank", '"documents":["a b"],"query":"%s"'),
        ("/images/generations", '"prompt":"%s"'),
        ("/audio/speech", '"voice":"alloy","input":"%s"'),
    ],
)
def test_every_json_endpoint_relays_the_body_as_it_came(
    http: httpx.Client, fake: FakeOpenAI, path: str, member: str
) -> None:
    said = marker()
    body = f'{{{DELICATE},{member % said},"model":"fake-chat"}}'.encode()
    answer = post(http, body, path)
    assert answer.status_code == 200, answer.text
    assert seen(fake, said).body == body
    assert seen(fake, said).path == "/v1" + path


def test_a_large_body_in_chunks_arrives_whole(http: httpx.Client, fake: FakeOpenAI) -> None:
    said = marker()
    text = said + "ü👋 " * 300_000
    messages = [{"role": "user", "content": text}]
    body = json.dumps({"model": "fake-chat", "messages": messages}, ensure_ascii=False, separators=(",", ":")).encode()
    in_pieces = (body[start : start + 70_001] for start in range(0, len(body), 70_001))
    answer = http.post("/chat/completions", content=in_pieces, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert seen(fake, said).body == body


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "api-key"])
def test_the_providers_key_replaces_the_clients(endpoint: Endpoint, fake: FakeOpenAI, name: str) -> None:
    said = marker()
    key = f"Bearer {endpoint.key}" if name == "authorization" else endpoint.key
    headers = {name: key, "content-type": "application/json", "cookie": "session=secret"}
    answer = httpx.post(endpoint.base_url + "/chat/completions", content=body_of("fake-chat", said), headers=headers)
    assert answer.status_code == 200, answer.text
    request = seen(fake, said)
    assert request.header("authorization") == f"Bearer {KEY}"
    assert request.header("cookie") is None
    assert GATEWAY_KEY not in repr(request.headers)


def test_headers_of_the_connection_stay_on_it(http: httpx.Client, fake: FakeOpenAI) -> None:
    said = marker()
    hop_by_hop = {
        "connection": "keep-alive, x-private",
        "x-private": "1",
        "te": "trailers",
        "proxy-authorization": "Basic eA==",
    }
    assert post(http, body_of("fake-chat", said), **hop_by_hop).status_code == 200
    names = {name for name, _ in seen(fake, said).headers}
    assert names.isdisjoint({"x-private", "te", "proxy-authorization", "transfer-encoding", "upgrade"})
    request = seen(fake, said)
    assert request.header("host") == httpx.URL(fake.base_url).netloc.decode()
    assert request.header("content-length") == str(len(request.body))
    assert [name for name, _ in request.headers].count("content-length") == 1


def test_connections_to_the_provider_are_kept(http: httpx.Client, fake: FakeOpenAI) -> None:
    def connection() -> Any:
        said = marker()
        assert post(http, body_of("fake-chat", said)).status_code == 200
        return seen(fake, said).connection

    assert len({id(connection()) for _ in range(5)}) == 1


def test_a_connection_the_provider_closed_is_not_the_clients_problem(http: httpx.Client, fake: FakeOpenAI) -> None:
    for _ in range(5):
        said = marker()
        assert post(http, body_of("fake-chat", said)).status_code == 200
        fake.drop_idle()
        said = marker()
        assert post(http, body_of("fake-chat", said)).status_code == 200
        assert seen(fake, said).complete
