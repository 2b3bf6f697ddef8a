"""What a decision costs over HTTP: CPU time of ``POST /v1/ml/route`` over that of nginx answering as many bytes.

``python -m benchmarks.routing_http [--rounds N] [--seconds S] [--gateway COMMAND] [--json]``

A gateway with eight targets, keys and limits on, usage events and the access log as they are meant to run, and nginx
that returns a text from its configuration, are asked in turn, A B A B, by wrk over 16 kept-alive connections. The
prompts have 460 characters and are 1,000 different ones, more than the gateway keeps; and one prompt again and again,
as an agent's steps have it. No provider is called.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks import procfs, tools, wrk
from benchmarks.child import Child, running
from benchmarks.peers.gateway import KEY, PLENTY
from benchmarks.peers.ports import free_ports, wait_listening
from benchmarks.routing import prompts

SCRIPT = Path(__file__).parent / "posts.lua"
CONNECTIONS = 16
ANSWER_BYTES = 1_000
WARM_UP = 1.0  # seconds
DIFFERENT = 1_000  # prompts
KINDS = ("different", "same")

NGINX = """\
{user}worker_processes 1;
daemon off;
pid {prefix}/nginx.pid;
error_log {prefix}/error.log error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    tcp_nodelay on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    default_type application/json;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 '{answer}'; }}
    }}
}}
"""

Peer = tuple[str, Child, dict[str, str]]
"""Where to post, the process, the headers."""


def settings(data_dir: Path) -> dict[str, Any]:
    """A gateway with eight targets at three providers, of models the router has learned and of others."""
    names = ("gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18", "claude-3-5-sonnet-20241022", "claude-3-haiku-20240307",
             "llama-3.1-8b-instruct", "mixtral-8x7b-instruct-v0.1", "one-more", "another")  # fmt: skip
    pairs = [(f"p{place % 3}", name) for place, name in enumerate(names)]
    limits = [{"metric": "requests", "limit": PLENTY, "window": "minute"}]
    nowhere = {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}
    return {
        "server": {"host": "127.0.0.1", "port": 0, "workers": 1, "drain": 2},
        "master_key": "gw_test_benchmark_master_key",
        "data_dir": str(data_dir),
        "providers": [{"name": f"p{place}", **nowhere} for place in range(3)],
        "models": [{"name": name, "targets": [{"provider": provider, "model": name}]} for provider, name in pairs],
        "keys": [{"key": KEY, "name": "bench", "organization": "bench", "limits": limits}],
        "pricing": [
            {"provider": provider, "model": name, "input_per_1k": 0.0002 * place, "output_per_1k": 0.0008 * place}
            for place, (provider, name) in enumerate(pairs, 1)
        ],
    }


@contextmanager
def gateway(folder: Path, command: str) -> Iterator[Peer]:
    """The gateway."""
    folder.mkdir()
    config = folder / "gateway.yaml"
    config.write_text(yaml.safe_dump(settings(folder / "data"), sort_keys=False))
    with running([command, "proxy", "--config", str(config), "--json"], folder / "output") as child:
        url = str(child.wait_ready()["url"]).rstrip("/").removesuffix("/v1")
        yield f"{url}/v1/ml/route", child, {"Authorization": f"Bearer {KEY}"}


@contextmanager
def nginx(folder: Path) -> Iterator[Peer]:
    """nginx with one answer."""
    folder.mkdir(mode=0o755)
    (port,) = free_ports(1)
    user = "user nobody nogroup;\n" if os.geteuid() == 0 else ""
    answer = json.dumps({"data": "x" * ANSWER_BYTES})
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(port=port, prefix=folder, user=user, answer=answer))
    command = [tools.find("nginx"), "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    with running(command, folder / "output", tools.library_path()) as child:
        wait_listening(child, port)
        yield f"http://127.0.0.1:{port}/", child, {}


def bodies(folder: Path) -> dict[str, Path]:
    """The requests of each of ``KINDS``, one a line."""
    texts = prompts(460)
    different = [f"{number:04} {texts[number % len(texts)][5:]}" for number in range(DIFFERENT)]
    found = {}
    for kind, asked in zip(KINDS, (different, texts[:1]), strict=True):
        lines = [
            json.dumps({"messages": [{"role": "user", "content": prompt}], "constraints": {"maxCost": 1.0}})
            for prompt in asked
        ]
        found[kind] = folder / f"{kind}.jsonl"
        found[kind].write_text("\n".join(lines) + "\n")
    return found


def spent(peer: Peer, body: Path, seconds: float) -> tuple[float, int]:
    """Microseconds of CPU a request, and the median of their times."""
    url, child, headers = peer
    before = procfs.cpu(child.pid)
    run = wrk.load(url, body, headers, seconds=seconds, connections=CONNECTIONS, script=SCRIPT)
    return (procfs.cpu(child.pid) - before) * 1e6 / run.requests, run.p50_us


def measure(command: str, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Of each kind the medians over the rounds, and of each round's ratio."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        folder.chmod(0o755)
        asked = bodies(folder)
        own = stack.enter_context(gateway(folder / "gateway", command))
        other = stack.enter_context(nginx(folder / "nginx"))
        for peer in (own, other):
            spent(peer, asked["different"], WARM_UP)
        rows: dict[str, list[tuple[float, float, int]]] = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            theirs, _ = spent(other, asked["different"], seconds)
            for kind in KINDS:
                micros, p50 = spent(own, asked[kind], seconds)
                rows[kind].append((micros, theirs, p50))
    return {
        kind: {
            "gateway_us": statistics.median([row[0] for row in found]),
            "nginx_us": statistics.median([row[1] for row in found]),
            "ratio": statistics.median([row[0] / row[1] for row in found]),
            "gateway_p50_us": statistics.median([row[2] for row in found]),
        }
        for kind, found in rows.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--gateway", default=tools.gateway_command(), help="the gateway command")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.gateway, options.rounds, options.seconds)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for kind, each in found.items():
        print(
            f"{kind} prompts: a decision over HTTP {each['gateway_us']:.0f} µs of CPU, nginx's static answer"
            f" {each['nginx_us']:.1f} µs: {each['ratio']:.1f} times"
        )


if __name__ == "__main__":
    main()
