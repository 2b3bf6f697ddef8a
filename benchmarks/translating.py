"""What translation costs: CPU time of the gateway by client's protocol and kind of provider, over that of a relay.

``python -m benchmarks.translating [--rounds N] [--seconds S] [--only CLIENT:KIND …] [--gateway COMMAND] [--json]``

The gateway runs as it is meant to: keys, limits, access log, usage events. It has no plugin, for what plugins see is
translated in any case. In each round wrk asks every pair in turn for a whole answer, a short stream and a long one, of
mock upstreams of each API. An event's cost is the slope between the two streams. What is told is over that of Chat
Completions relayed to ``openai`` in the same round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from benchmarks import payloads, procfs, tools, wrk
from benchmarks.child import Child, running
from benchmarks.peers.gateway import KEY, PLENTY
from benchmarks.vendors import FEW, KINDS, MANY

CONNECTIONS = 8
GOALS: Final = {"plain": 150.0, "event": 12.0}
"""Microseconds over the relay: of a whole answer, and of an event."""
RELAY: Final = ("chat", "openai")
MODELS: Final = {"anthropic": "claude-sonnet-4-5"}
"""Names that say what a model takes."""
PATHS: Final = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}


class Cost(NamedTuple):
    """Microseconds of CPU of a whole answer, and of one event more in a stream."""

    plain: float
    event: float


def settings(upstream: str, data_dir: Path) -> dict[str, Any]:
    """A gateway with a provider of each kind."""
    own: dict[str, Any] = {
        "openai": {"base_url": f"{upstream}/openai/v1", "api_key": "k"},
        "bedrock": {"options": {"access_key_id": "k", "secret_access_key": "s", "region": "us-east-1"}},
    }
    limits = [
        {"metric": "requests", "limit": PLENTY, "window": "minute"},
        {"metric": "tokens", "limit": PLENTY, "window": "day"},
        {"metric": "concurrency", "limit": 100_000},
    ]
    return {
        "server": {"host": "127.0.0.1", "port": 0, "workers": 1, "drain": 2},
        "master_key": "gw_test_benchmark_master_key",
        "data_dir": str(data_dir),
        "providers": [
            {"name": kind, "kind": kind, "base_url": f"{upstream}/{kind}", **own.get(kind, {"api_key": "k"})}
            for kind in KINDS
        ],
        "models": [
            {"name": f"{kind}-{size}", "targets": [{"provider": kind, "model": f"{MODELS.get(kind, 'mock')}-{size}"}]}
            for kind in KINDS
            for size in ("few", "many")
        ],
        "keys": [{"key": KEY, "name": "bench", "organization": "bench", "limits": limits}],
    }


def asked(client: str, model: str, stream: bool) -> bytes:
    """A request of the same words in each protocol."""
    user = [{"role": "user", "content": payloads.QUESTION}]
    if client == "chat":
        return payloads.chat(model=model, stream=stream)
    body: dict[str, Any] = {"model": model, "temperature": 0.7, "stream": stream}
    if client == "messages":
        return json.dumps({**body, "system": payloads.SYSTEM, "messages": user, "max_tokens": 256}).encode()
    own = {"instructions": payloads.SYSTEM, "input": user, "max_output_tokens": 256, "store": False}
    return json.dumps({**body, **own}).encode()


def cost(child: Child, root: str, pair: tuple[str, str], folder: Path, seconds: float) -> Cost:
    """One pair, once."""
    client, kind = pair
    spent = []
    for size, stream in (("few", False), ("few", True), ("many", True)):
        body = folder / "body.json"
        body.write_bytes(asked(client, f"{kind}-{size}", stream))
        before = procfs.cpu(child.pid)
        run = wrk.load(
            root + PATHS[client],
            body,
            {"Authorization": f"Bearer {KEY}"},
            seconds=seconds,
            connections=CONNECTIONS,
        )
        spent.append((procfs.cpu(child.pid) - before) * 1e6 / run.requests)
    return Cost(spent[0], (spent[2] - spent[1]) / (MANY - FEW))


def measure(command: str, pairs: list[tuple[str, str]], rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """By ``client:kind`` the medians of a relay's cost, and of what each pair costs over it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        mock = [sys.executable, "-m", "benchmarks.vendors"]
        upstream = stack.enter_context(running(mock, folder / "mock", {"PYTHONPATH": str(tools.ROOT)})).wait_ready()
        config = folder / "gateway.yaml"
        config.write_text(yaml.safe_dump(settings(str(upstream["url"]), folder / "data"), sort_keys=False))
        started = running([command, "proxy", "--config", str(config), "--json"], folder / "output")
        child = stack.enter_context(started)
        root = str(child.wait_ready()["url"]).rstrip("/").removesuffix("/v1")
        everyone = [RELAY, *(pair for pair in pairs if pair != RELAY)]
        for pair in everyone:
            cost(child, root, pair, folder, 1)
        found = [{pair: cost(child, root, pair, folder, seconds) for pair in everyone} for _ in range(rounds)]
    relay = [each[RELAY] for each in found]
    told = {":".join(RELAY): _medians([(each.plain, each.event) for each in relay])}
    for pair in everyone[1:]:
        over = [
            (each[pair].plain - base.plain, each[pair].event - base.event)
            for each, base in zip(found, relay, strict=True)
        ]
        told[":".join(pair)] = _medians(over)
    return told


def _medians(costs: list[tuple[float, float]]) -> dict[str, float]:
    return {
        name: statistics.median(column) for name, column in zip(Cost._fields, zip(*costs, strict=True), strict=True)
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", action="append", help="a pair such as messages:gemini; absent: all")
    parser.add_argument("--gateway", default=tools.gateway_command(), help="the gateway command")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    named = options.only or [f"{client}:{kind}" for client in PATHS for kind in KINDS]
    pairs = [(client, kind) for each in named for client, _, kind in (each.partition(":"),)]
    found = measure(options.gateway, pairs, options.rounds, options.seconds)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    (relay, base), *others = found.items()
    print(f"{relay} relayed: {base['plain']:.0f} µs of CPU an answer, {base['event']:.1f} µs an event. Over that:")
    for name, over in others:
        marks = " ".join(f"{key} over the goal" for key, goal in GOALS.items() if over[key] > goal)
        print(f"{name:20} {over['plain']:6.0f} µs {over['event']:6.1f} µs {marks}".rstrip())


if __name__ == "__main__":
    main()
