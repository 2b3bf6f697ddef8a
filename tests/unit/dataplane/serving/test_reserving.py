"""What a request may cost at most is reserved before it is sent: every answer of every prompt counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.settings.model import Limit
from tests.support.raw_upstream import raw_upstream, serve_completions
from tests.support.wire import FORM_START, Answer, chat, post, wire
from tests.support.worker import RunningWorker, provider, running_worker, settings_for

MOST = 2_000
LIMITS = (Limit(metric="tokens", limit=MOST, window="day"),)


def prompts(prompt: Any, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/completions", {"model": "m", "prompt": prompt, "max_tokens": 100, **fields}


async def ask(tmp_path: Path, path: str, body: bytes | dict[str, Any]) -> tuple[Answer, int, RunningWorker]:
    """The answer, how many requests reached the upstream, and the gateway."""
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url), limits=LIMITS), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post(path, body))
        return await client.answer(), len(upstream.requests), gateway


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat(n=128)),
        ("/v1/chat/completions", chat(n=2)),
        ("/v1/chat/completions", chat(n=30, max_tokens=100)),
        ("/v1/completions", {"model": "m", "prompt": "a", "best_of": 2}),
        prompts("a", best_of=30),
        prompts("a", n=1, best_of=30),
        prompts(["a"] * 30),
        prompts(["a"] * 10, best_of=3),
        prompts([[1, 2]] * 30),
        ("/v1/completions", b'{"model":"m","max_tokens":100,"prompt": [ ' + b'"a" , ' * 29 + b'"a" ] }'),
    ],
)
async def test_more_than_the_limit_is_refused(tmp_path: Path, path: str, body: bytes | dict[str, Any]) -> None:
    got, asked, gateway = await ask(tmp_path, path, body)
    assert (got.status, asked) == (429, 0)
    assert gateway.used("tokens") == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat()),
        ("/v1/chat/completions", chat(n=19, max_tokens=100)),
        prompts("a", best_of=19),
        prompts(["a"] * 19),
        prompts([[1, 2]] * 19),
        prompts([1] * 100),
        prompts(["a"] * 6, n=1, best_of=3),
    ],
)
async def test_what_fits_is_served_and_settled_at_its_use(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    got, asked, gateway = await ask(tmp_path, path, body)
    assert (got.status, asked) == (200, 1)
    assert gateway.used("tokens") == 7


async def test_a_form_reserves_its_answer(tmp_path: Path) -> None:
    limits = (Limit(metric="tokens", limit=1_000, window="day"),)
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url), limits=limits), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        body = FORM_START + b"sound\r\n--b--\r\n"
        await client.send(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer gw_test_unit\r\n"
            b"content-type: multipart/form-data; boundary=b\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        assert (await client.answer()).status == 429
        assert not upstream.requests
