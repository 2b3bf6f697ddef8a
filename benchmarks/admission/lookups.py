"""What the sidecar spends on telling a data plane whose credential it is: ``python -m benchmarks.admission.lookups``.

Every look-up is of another valid key with six limits: two of its own, three of its plan, a budget. CPU
is user and system time of the sidecar's process, per look-up.

==============  ======================================================================================================
one by one      a client that asks for a key when it has the answer for the one before
in bulk         a client that asks for all of them at once
cold worker     ``gateway serve`` that has just started and holds no key: one request with each key, ``--at-once`` at a
                time. Every answer counts that is not 200.
==============  ======================================================================================================

It also tells how long a sidecar takes from its start to its first answer, and how much memory it holds then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import click
import httpx
import uvloop
import yaml
from msgspec import Struct, to_builtins

from benchmarks import payloads, procfs, tools
from benchmarks.admission import accounts
from benchmarks.child import Child, running
from benchmarks.measures.crowd import allow_files
from benchmarks.peers import gateway, mock
from gateway.bus.embedded import EmbeddedPolicy
from gateway.bus.http import Client, parse_address
from gateway.bus.policy import Query
from gateway.contract.internal import HEADER, internal_token
from gateway.kernel.secrets import digest_of

MASTER = "gw_test_benchmark_master_key"
DEADLINE = 60.0  # seconds for one request of the worker's


class Found(Struct):
    """Microseconds and seconds of CPU are the sidecar's. ``answers`` are the worker's, by status."""

    keys: int
    one_by_one_us: float
    one_by_one_wall_us: float
    in_bulk_us: float
    cold_worker_us: float
    cold_worker_wall_s: float
    cold_worker_slowest_s: float
    answers: dict[str, int]
    start_s: float
    start_cpu_s: float
    rss_mb: float


def measure(folder: Path, keys: int, at_once: int, starts: int) -> Found:
    """Take every measure on one database."""
    with mock.start(folder / "mock") as upstream:
        config = gateway.write_config(folder / "gateway", upstream.url)
        data = str(yaml.safe_load(config.read_text())["data_dir"])
        secrets = asyncio.run(accounts.fill(data, MASTER, keys))
        digests = [digest_of(secret.encode()).hex() for secret in secrets]
        took = [_start(config, folder) for _ in range(starts)]
        with _sidecar(config, folder) as (child, address):
            single, wall = _cpu(child.pid, lambda: uvloop.run(_one_by_one(address, digests)))
        with _sidecar(config, folder) as (child, address):
            bulk, _ = _cpu(child.pid, lambda: uvloop.run(_in_bulk(address, digests)))
        cold, cold_wall, told = _cold(config, folder, secrets, at_once)
    statuses = Counter(str(status) for status, _ in told)
    return Found(
        keys, single / keys * 1e6, wall / keys * 1e6, bulk / keys * 1e6, cold / keys * 1e6, cold_wall,
        max(seconds for _, seconds in told), dict(statuses), *(median(values) for values in zip(*took, strict=True)),
    )  # fmt: skip


def _start(config: Path, folder: Path) -> tuple[float, float, float]:
    """Seconds from the start to an answer, seconds of CPU until then, and megabytes resident."""
    begun = time.perf_counter()
    with _sidecar(config, folder) as (child, address):
        transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
        with httpx.Client(transport=transport, headers={HEADER: internal_token(MASTER)}) as client:
            client.get("http://sidecar/internal/health").raise_for_status()
        return time.perf_counter() - begun, procfs.cpu(child.pid), procfs.rss(child.pid) / 1e6


@contextlib.contextmanager
def _sidecar(config: Path, folder: Path) -> Iterator[tuple[Child, str]]:
    command = [tools.gateway_command(), "sidecar", "--config", str(config), "--json"]
    with running(command, folder / "sidecar.log") as child:
        yield child, str(child.wait_ready()["urls"][0])


def _cpu(pid: int, work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds of a process while something runs, and how long that took."""
    before, begun = procfs.cpu(pid), time.perf_counter()
    work()
    return procfs.cpu(pid) - before, time.perf_counter() - begun


async def _one_by_one(address: str, digests: Sequence[str]) -> None:
    source = EmbeddedPolicy(address, MASTER)
    for digest in digests:
        await _resolve(source, digest)
    await source.close()


async def _in_bulk(address: str, digests: Sequence[str]) -> None:
    source = EmbeddedPolicy(address, MASTER)
    # The first one also opens connections and has statements compiled.
    await _resolve(source, digests[0])
    places = asyncio.Semaphore(500)

    async def ask(digest: str) -> None:
        async with places:
            await _resolve(source, digest)

    await asyncio.gather(*map(ask, digests))
    await source.close()


async def _resolve(source: EmbeddedPolicy, digest: str) -> None:
    policy = (await source.resolve(Query(digest=digest))).policy
    assert policy is not None
    assert policy.status == "active"
    assert len(policy.limits) == 6, policy.limits


def _cold(
    config: Path, folder: Path, secrets: Sequence[str], at_once: int
) -> tuple[float, float, list[tuple[int, float]]]:
    command = [tools.gateway_command(), "serve", "--config", str(config), "--json"]
    told: list[tuple[int, float]] = []
    with running(command, folder / "serve.log") as child:
        url = str(child.wait_ready()["url"]).rstrip("/").removesuffix("/v1")
        _wait(url, child)
        sidecar = _process(child.pid, "gateway.sidecar")
        cpu, wall = _cpu(sidecar, lambda: told.extend(uvloop.run(_requests(url, secrets, at_once))))
    return cpu, wall, told


async def _requests(url: str, secrets: Sequence[str], at_once: int) -> list[tuple[int, float]]:
    """One request with each key; gives status and seconds."""
    client = Client(parse_address(url), DEADLINE, at_once)
    body = payloads.chat()

    async def ask(secret: str) -> tuple[int, float]:
        begun = time.perf_counter()
        answer = await client.request("POST", "/v1/chat/completions", {"authorization": f"Bearer {secret}"}, body)
        return answer.status, time.perf_counter() - begun

    told = await asyncio.gather(*map(ask, secrets))
    client.close()
    return told


def _wait(url: str, child: Child) -> None:
    """Until the sidecar answers: with a path that only it knows, and a key that it is not asked for."""
    deadline = time.monotonic() + 30
    headers = {"authorization": f"Bearer {gateway.KEY}"}
    while httpx.get(f"{url}/plans", headers=headers).status_code == 503:
        child.check()
        if time.monotonic() > deadline:
            raise TimeoutError("the sidecar did not come up")
        time.sleep(0.1)


def _process(root: int, module: str) -> int:
    for stat in procfs.tree(root):
        if module.encode() in (procfs.PROC / str(stat.pid) / "cmdline").read_bytes().split(b"\0"):
            return stat.pid
    raise LookupError(f"no process of {root} runs {module}")


@click.command()
@click.option("--keys", type=click.IntRange(min=1), default=2_000, show_default=True, help="Keys that are looked up.")
@click.option("--at-once", default=2_000, show_default=True, help="Requests of the cold worker's at a time.")
@click.option("--starts", type=click.IntRange(min=1), default=3, show_default=True, help="Starts of a sidecar.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(keys: int, at_once: int, starts: int, as_json: bool) -> None:
    """Measure what looking up a credential costs the sidecar, and print it."""
    allow_files(at_once)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        found = measure(Path(folder), keys, at_once, starts)
    if as_json:
        print(json.dumps(to_builtins(found)))
        return
    print(f"{found.keys:,} keys; CPU of the sidecar per look-up")
    print(f"one by one   {found.one_by_one_us:8,.0f} µs, {found.one_by_one_wall_us:,.0f} µs from question to answer")
    print(f"in bulk      {found.in_bulk_us:8,.0f} µs")
    print(
        f"cold worker  {found.cold_worker_us:8,.0f} µs; all in {found.cold_worker_wall_s:.2f} s, the slowest request"
        f" {found.cold_worker_slowest_s:.2f} s; answers by status: {found.answers}"
    )
    print(f"start        {found.start_s:.2f} s, {found.start_cpu_s:.2f} s of CPU; {found.rss_mb:.0f} MB resident")


if __name__ == "__main__":
    main()
