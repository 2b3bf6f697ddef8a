"""A new configuration while requests are under way: nothing is dropped, and a bad one changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.scenarios.conftest import gateway_config
from tests.scenarios.material import marker
from tests.support.fake_openai import FakeOpenAI
from tests.support.gateway import running_gateway
from tests.support.raw_http import RawConnection, request


def models(client: httpx.Client) -> set[str]:
    return {model["id"] for model in client.get("/v1/models").json()["data"]}


def test_an_open_stream_survives_a_reload(fake: FakeOpenAI, tmp_path: Path) -> None:
    config = gateway_config(fake)
    renewed = {
        **config,
        "models": [*config["models"], {"name": "brand-new", "targets": [{"provider": "fake", "model": "fake-chat"}]}],
    }
    gate = marker()
    hi = [{"role": "user", "content": "hi"}]
    body = {"model": "gated", "messages": hi, "stream": True, "metadata": {"gate": gate}}
    with running_gateway(config, tmp_path, command="proxy") as gateway, RawConnection(gateway.address) as connection:
        connection.send(request("/v1/chat/completions", json.dumps(body).encode(), key=gateway.key))
        fake.gates.release(gate)
        response = connection.begin_response()
        first = response.readline()
        gateway.reload(renewed, lambda client: "brand-new" in models(client))
        with httpx.Client(base_url=gateway.root, headers={"authorization": f"Bearer {gateway.key}"}) as client:
            asked = {"model": "brand-new", "messages": hi}
            assert client.post("/v1/chat/completions", json=asked).status_code == 200
        fake.gates.release(gate, 10)
        rest = response.read()
    assert first.startswith(b"data: {")
    assert rest.endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason":"stop"' in rest


def test_a_bad_configuration_is_not_taken(fake: FakeOpenAI, tmp_path: Path) -> None:
    config = gateway_config(fake)
    bad = {**config, "models": [], "providrs": []}
    better = {**config, "models": config["models"][:3]}
    with running_gateway(config, tmp_path, command="proxy") as gateway:
        gateway.reload(bad, lambda client: "providrs" in gateway.log())
        with httpx.Client(base_url=gateway.root, headers={"authorization": f"Bearer {gateway.key}"}) as client:
            assert len(models(client)) >= len(config["models"])
        gateway.reload(better, lambda client: len(models(client)) == 4)  # auto is one
