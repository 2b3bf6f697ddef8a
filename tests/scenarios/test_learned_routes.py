"""Learned routes at a real gateway, by the clients that apps use: three providers of different quality and price."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI
from openai.types.chat import ChatCompletion

from gateway.contract.learned_routes import LearnedRoutes, Shift
from gateway.contract.policy import Change
from gateway.contract.usage import UsageEvent
from gateway.dataplane.learned.exploring import drawn
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.scraped import scrape

PATIENCE = 30.0
KEY, OTHER_KEY = "gw_live_learned_0123456789", "gw_live_other_0123456789"
CHEAP, STRONG, DEAR = "mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview", "gpt-3.5-turbo-0125"
PRICES = {CHEAP: 0.0006, STRONG: 0.07, DEAR: 0.1}
EASY = "What is 12*7?"
HARD = "Given a 2-player zero-sum matrix game, derive the LP dual and compute equilibrium for [[1,2],[3,0]]"
NOT_KEPT = {"cache-control": "no-store"}
LEARNED: dict[str, Any] = {"exploration": 0.0}


class Provider(BaseHTTPRequestHandler):
    """Answers chats under any name of a model; with 500 where the key says so."""

    protocol_version = "HTTP/1.1"
    bodies: ClassVar[queue.SimpleQueue[dict[str, Any]]] = queue.SimpleQueue()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.bodies.put(body)
        if self.headers["authorization"] == "Bearer broken":
            self._give(500, "application/json", b'{"error":{"message":"broken"}}')
            return
        usage = {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50}
        common = {"id": "c", "created": 1, "model": body["model"]}
        message = {"role": "assistant", "content": "84"}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = {**common, "object": "chat.completion", "choices": [choice], "usage": usage}
            self._give(200, "application/json", json.dumps(whole).encode())
            return
        chunk = {**common, "object": "chat.completion.chunk"}
        events = [
            {**chunk, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
            {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {**chunk, "choices": [], "usage": usage},
        ]
        stream = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"
        self._give(200, "text/event-stream", stream)

    def _give(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The test's output is no place for it."""


class Sidecar(BaseHTTPRequestHandler):
    """What a data plane asks of a sidecar: changes, prices, and what was learnt of an organization's routes."""

    protocol_version = "HTTP/1.1"
    lessons: ClassVar[dict[str, LearnedRoutes]] = {}
    changes: ClassVar[queue.SimpleQueue[Change]] = queue.SimpleQueue()
    asked: ClassVar[list[str]] = []
    over = threading.Event()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/internal/routes":
            (organization,) = parse_qs(url.query)["organization"]
            self.asked.append(organization)
            told = self.lessons.get(organization, LearnedRoutes(0, organization))
            self._give(msgspec.json.encode(told))
        else:
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self._line(b'{"seq":1}')
            while not self.over.is_set():
                try:
                    self._line(msgspec.json.encode(self.changes.get(timeout=0.2)))
                except queue.Empty:
                    self._line(b"")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._give(json.dumps({"prices": [[] for _ in asked], "exchange": []}).encode())

    def _line(self, line: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\n\r\n" % (len(line) + 1, line))

    def _give(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The test's output is no place for it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A gateway that ends closes its connections."""


@pytest.fixture(scope="module")
def addresses() -> Iterator[tuple[str, str]]:
    """Where the providers and the sidecar answer."""
    servers = [_Server(("127.0.0.1", 0), Provider), _Server(("127.0.0.1", 0), Sidecar)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tuple(f"http://127.0.0.1:{server.server_port}" for server in servers)  # type: ignore[misc]
    Sidecar.over.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def config(upstream: str, sidecar: str) -> dict[str, Any]:
    """Each model at a provider of its own; ``broken`` and ``stricken`` have the strong one as well, and fail."""
    common: dict[str, Any] = {"kind": "openai", "base_url": f"{upstream}/v1", "retry": {"attempts": 1}}
    breaker: dict[str, Any] = {"failures": 2, "cooldown": 600}
    providers: list[dict[str, Any]] = [
        {"name": name, **common, "api_key": "good"} for name in ("cheap", "strong", "dear")
    ]
    providers += [{"name": name, **common, "api_key": "broken", "breaker": breaker} for name in ("broken", "stricken")]
    at = {"cheap": CHEAP, "strong": STRONG, "dear": DEAR, "broken": STRONG, "stricken": STRONG}
    three = [{"provider": name, "model": at[name]} for name in ("dear", "cheap", "strong")]
    failing = [{"provider": name, "model": at[name]} for name in ("dear", "cheap", "broken")]
    models: list[dict[str, Any]] = [
        {"name": "smart", "strategy": "ml", "targets": three, "routing": LEARNED},
        {"name": "exploring", "strategy": "ml", "targets": three, "routing": {"exploration": 0.5, "margin": 1.0}},
        {"name": "watched", "strategy": "priority", "targets": three, "routing": {"shadow": True, **LEARNED}},
        {"name": "failing", "strategy": "ml", "targets": failing, "routing": LEARNED},
        {"name": "stricken", "targets": [{"provider": "stricken", "model": STRONG}], "fallbacks": ["smart"]},
        *({"name": name, "targets": [{"provider": name, "model": at[name]}]} for name in ("cheap", "strong")),
    ]
    return {
        "server": {"host": "127.0.0.1", "port": 0},
        "master_key": "gw_test_master_key",
        "data_dir": "data",
        "sidecar": {"url": sidecar},
        "providers": providers,
        "models": models,
        "plugins": [{"name": "response_cache"}],
        "routing": {"auto": {"models": ["cheap", "strong"], **LEARNED}},
        "pricing": [
            {"provider": name, "model": model, "input_per_1k": PRICES[model] / 3, "output_per_1k": PRICES[model]}
            for name, model in at.items()
        ],
        "keys": [
            {"key": KEY, "name": "one", "organization": "acme"},
            {"key": OTHER_KEY, "name": "two", "organization": "other", "models": ["cheap"]},
        ],
    }


@pytest.fixture(scope="module")
def gateway(addresses: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    directory = tmp_path_factory.mktemp("learned")
    with running_gateway(config(*addresses), directory, command="proxy") as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=gateway.base_url, api_key=KEY, max_retries=0, timeout=PATIENCE, default_headers=NOT_KEPT
    ) as made:
        yield made


def event_of(gateway: RunningGateway, request_id: str) -> UsageEvent:
    """The usage event of a request, once it is in the file."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for path in Path(gateway.config_path.parent, "data", "usage").glob("*.jsonl"):
            *lines, _ = path.read_bytes().split(b"\n")
            for line in lines:
                if request_id.encode() in line:
                    return msgspec.json.decode(line, type=UsageEvent)
        time.sleep(0.02)
    raise AssertionError(f"there is no event of {request_id}")


def ask(client: OpenAI, prompt: str, model: str = "smart", **routing: Any) -> tuple[ChatCompletion, dict[str, str]]:
    """The answer, and the gateway's headers."""
    raw = client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=50,
        extra_body={"routing": routing} if routing else None,
    )
    return raw.parse(), {name: value for name, value in raw.headers.items() if name.startswith("x-")}


def test_an_easy_prompt_goes_cheap_and_a_hard_one_goes_strong(gateway: RunningGateway, client: OpenAI) -> None:
    for model in ("smart", "auto"):
        answer, easy = ask(client, EASY, model)
        assert answer.model == CHEAP
        assert easy["x-gateway-target"] == f"cheap/{CHEAP}"
        _, hard = ask(client, HARD, model)
        assert hard["x-gateway-target"] == f"strong/{STRONG}"
        assert hard["x-gateway-decision"].startswith(f"strong/{STRONG}; task=")
        assert hard["x-gateway-decision"].endswith("; goal=balanced")
        assert 0.5 <= float(hard["x-gateway-confidence"]) <= 1.0
        assert f"cheap/{CHEAP}" in hard["x-gateway-alternatives"].split(", ")
        # 50 tokens at most, and the prompt.
        assert 0.07 * 0.05 < float(hard["x-gateway-estimated-cost"]) < 0.07 * 0.1
        assert 0 < float(hard["x-gateway-estimated-seconds"]) < 5
        assert float(hard["x-gateway-cost"]) == pytest.approx(0.07 * 0.03 + 0.07 / 3 * 0.02)

        event = event_of(gateway, hard["x-request-id"])
        decision = event.decision
        assert decision is not None
        assert (event.model, event.provider, event.target) == (model, "strong", STRONG)
        assert (decision.chosen, decision.goal, decision.shadow, decision.explored, decision.fixed) == (
            f"strong/{STRONG}", "balanced", False, False, False,
        )  # fmt: skip
        assert [one.propensity for one in decision.estimates] == [1.0] + [0.0] * (len(decision.estimates) - 1)
        qualities = {one.target: one.quality for one in decision.estimates}
        assert qualities[f"strong/{STRONG}"] > qualities[f"cheap/{CHEAP}"]
        nanos = round(float(hard["x-gateway-estimated-cost"]) * 1e9)
        assert decision.estimates[0].cost_nanos == nanos


def test_constraints_are_obeyed_and_never_sent_on(client: OpenAI) -> None:
    assert ask(client, HARD, exclude_providers=["STRONG"])[0].model == CHEAP
    assert ask(client, HARD, max_cost=0.001)[0].model == CHEAP
    assert ask(client, HARD, optimize_for="cost")[0].model == CHEAP
    assert ask(client, EASY, preferred_providers=["dear"])[0].model == DEAR
    assert ask(client, EASY, min_quality=0.75, optimize_for="quality")[0].model == CHEAP
    headers = {"x-gateway-exclude-providers": "strong, dear"}
    messages: Any = [{"role": "user", "content": HARD}]
    answer = client.chat.completions.create(model="smart", messages=messages, extra_headers=headers)
    assert answer.model == CHEAP
    while not Provider.bodies.empty():
        assert "routing" not in Provider.bodies.get()


def test_what_no_target_meets_is_refused_with_the_nearest_that_would_do(client: OpenAI) -> None:
    for routing, field, says in (
        ({"max_cost": 1e-9}, "routing.max_cost", f"cheap/{CHEAP}, the nearest, is expected to cost"),
        ({"min_quality": 0.99}, "routing.min_quality", "the nearest, reaches"),
        ({"max_response_time": 0.000001}, "routing.max_response_time", "the nearest, is expected to answer"),
        ({"preferred_providers": ["nobody"]}, "routing.preferred_providers", "there are targets of"),
        ({"exclude_providers": ["cheap", "strong", "dear"]}, "routing.exclude_providers", "every target is of"),
        ({"max_cost": "much"}, "routing.max_cost", "US dollars"),
        ({"max_money": 1}, "routing.max_money", "expected optimize_for"),
    ):
        with pytest.raises(openai.BadRequestError) as raised:
            ask(client, EASY, **routing)
        assert raised.value.param == field
        assert says in str(raised.value)


def test_streams_responses_and_messages_are_routed_alike(gateway: RunningGateway, client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": HARD}]
    raw = client.chat.completions.with_raw_response.create(model="smart", messages=messages, max_tokens=50, stream=True)
    assert {chunk.model for chunk in raw.parse()} == {STRONG}
    assert raw.headers["x-gateway-decision"].startswith(f"strong/{STRONG}")
    assert event_of(gateway, raw.headers["x-request-id"]).decision is not None

    response = client.responses.with_raw_response.create(model="smart", input=HARD, max_output_tokens=50)
    assert response.headers["x-gateway-target"] == f"strong/{STRONG}"
    cheap = client.responses.with_raw_response.create(
        model="smart", input=HARD, extra_body={"routing": {"exclude_providers": ["strong"]}}
    )
    assert cheap.parse().output_text == "84"
    assert cheap.headers["x-gateway-target"] == f"cheap/{CHEAP}"

    with Anthropic(base_url=gateway.root, api_key=KEY, max_retries=0, default_headers=NOT_KEPT) as claude:
        told = claude.messages.with_raw_response.create(
            model="smart",
            max_tokens=50,
            messages=[{"role": "user", "content": HARD}],
            extra_body={"routing": {"optimize_for": "quality"}},
        )
    assert told.headers["x-gateway-target"] == f"strong/{STRONG}"
    assert event_of(gateway, told.headers["x-request-id"]).decision is not None


def test_a_watched_model_goes_its_own_way_and_tells_what_was_decided(gateway: RunningGateway, client: OpenAI) -> None:
    answer, told = ask(client, EASY, "watched")
    assert answer.model == DEAR, "the first in order"
    assert told["x-gateway-decision"].startswith(f"cheap/{CHEAP};")
    assert told["x-gateway-decision"].endswith("; shadow")
    event = event_of(gateway, told["x-request-id"])
    assert event.decision is not None
    assert (event.target, event.decision.chosen, event.decision.shadow) == (DEAR, f"cheap/{CHEAP}", True)
    assert ask(client, EASY, "watched", max_cost=0)[0].model == DEAR, "nor is anything refused"


def test_exploration_is_told_truly_and_can_be_checked(gateway: RunningGateway, client: OpenAI) -> None:
    explored = 0
    for _ in range(12):
        answer, told = ask(client, EASY, "exploring")
        event = event_of(gateway, told["x-request-id"])
        decision = event.decision
        assert decision is not None
        assert answer.model == event.target == decision.chosen.partition("/")[2]
        chances = [one.propensity for one in decision.estimates]
        assert sum(chances) == pytest.approx(1.0)
        assert sorted(chances) == pytest.approx([1 / 6, 1 / 6, 2 / 3])
        assert decision.explored == (chances[0] < 0.5) == told["x-gateway-decision"].endswith("; explored")
        assert drawn(event.id) < 0.5 or not decision.explored
        explored += decision.explored
    assert explored < 12


def test_a_choice_that_fails_is_followed_by_the_alternatives_until_its_breaker_opens(
    gateway: RunningGateway, client: OpenAI
) -> None:
    for _ in range(2):
        answer, told = ask(client, HARD, "failing")
        assert told["x-gateway-decision"].startswith(f"broken/{STRONG}")
        assert (answer.model, told["x-gateway-target"], told["x-gateway-attempts"]) == (CHEAP, f"cheap/{CHEAP}", "2")
        event = event_of(gateway, told["x-request-id"])
        assert [attempt.provider for attempt in event.attempts] == ["broken", "cheap"]
    _, told = ask(client, HARD, "failing")
    assert told["x-gateway-decision"].startswith(f"cheap/{CHEAP}")
    assert told["x-gateway-attempts"] == "1"
    decision = event_of(gateway, told["x-request-id"]).decision
    assert decision is not None
    assert f"broken/{STRONG}" not in [one.target for one in decision.estimates]


def test_auto_chooses_from_what_the_key_may_use(gateway: RunningGateway) -> None:
    with OpenAI(
        base_url=gateway.base_url, api_key=OTHER_KEY, max_retries=0, timeout=PATIENCE, default_headers=NOT_KEPT
    ) as narrow:
        answer, told = ask(narrow, HARD, "auto")
        assert answer.model == CHEAP
        assert "x-gateway-alternatives" not in told
        with pytest.raises(openai.PermissionDeniedError):
            ask(narrow, HARD, "smart")


def test_a_fallback_decides_when_it_is_reached(gateway: RunningGateway, client: OpenAI) -> None:
    for prompt, model in ((HARD, STRONG), (EASY, CHEAP)):
        answer, told = ask(client, prompt, "stricken")
        assert answer.model == model, "not the dear one, which is listed first"
        assert told["x-gateway-fallback"].startswith("smart; reason=")
        assert "x-gateway-decision" not in told
        assert event_of(gateway, told["x-request-id"]).decision is None
    # Its breaker is open by now: nothing of its own is tried before.
    answer, told = ask(client, HARD, "stricken")
    assert (answer.model, told["x-gateway-attempts"]) == (STRONG, "1")


def test_an_answer_is_kept_for_those_who_want_the_same_alone(client: OpenAI) -> None:
    prompt = f"{HARD} Once more."
    headers = {"x-gateway-exclude-providers": "strong"}
    wanted: list[tuple[dict[str, Any], dict[str, str], str]] = [
        ({}, {}, STRONG),
        ({"exclude_providers": ["strong"]}, {}, CHEAP),
        ({}, headers, CHEAP),
        ({"optimize_for": "cost"}, {}, CHEAP),
    ]
    states = []
    for _ in range(2):
        for routing, more, model in wanted:
            raw = client.chat.completions.with_raw_response.create(
                model="smart",
                messages=[{"role": "user", "content": prompt}],
                extra_body={"routing": routing} if routing else None,
                extra_headers={**more, "cache-control": "max-age=600"},
            )
            assert raw.parse().model == model
            states.append(raw.headers["x-gateway-cache"])
    assert states == ["miss", "miss", "hit", "miss", *["hit"] * 4]


def test_decisions_are_counted(gateway: RunningGateway, client: OpenAI) -> None:
    before = scrape(gateway.root)
    ask(client, HARD, "auto")
    ask(client, EASY, "watched")
    asked = {"messages": [{"role": "user", "content": HARD}]}
    httpx.post(f"{gateway.root}/v1/ml/route", json=asked, headers={"authorization": f"Bearer {KEY}"}).raise_for_status()
    after = scrape(gateway.root)
    for labels, more in (
        ({"model": "auto", "provider": "strong", "target": STRONG, "result": "best"}, 2),
        ({"model": "watched", "provider": "cheap", "target": CHEAP, "result": "shadow"}, 1),
    ):
        assert after.sum("gateway_route_decisions_total", **labels) == more + before.sum(
            "gateway_route_decisions_total", **labels
        )


def test_what_an_organization_taught_moves_its_own_routes(gateway: RunningGateway, client: OpenAI) -> None:
    assert ask(client, HARD)[0].model == STRONG
    assert "acme" in Sidecar.asked
    Sidecar.lessons["acme"] = LearnedRoutes(2, "acme", (Shift(f"strong/{STRONG}", -3.0, 100.0),))
    Sidecar.changes.put(Change(seq=2, at_ns=time.time_ns(), kind="routing", id="acme"))
    deadline = time.monotonic() + PATIENCE
    while ask(client, HARD)[0].model != CHEAP:
        assert time.monotonic() < deadline, gateway.log()
        time.sleep(0.05)
    _, told = ask(client, HARD, optimize_for="quality")
    decision = event_of(gateway, told["x-request-id"]).decision
    assert decision is not None
    assert {one.target: one.shift for one in decision.estimates}[f"strong/{STRONG}"] == -3.0
