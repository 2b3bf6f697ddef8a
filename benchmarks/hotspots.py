"""Where the gateway's worker spends its time under the benchmark's load.

``python -m benchmarks.hotspots [chat|stream|prompt] [--seconds N] [--top N] [--sample]``

By default cProfile counts every call: exact counts, but calls of Python functions look dearer than they are.
``--sample`` lets py-spy sample the lines that run while the interpreter is held instead, which hardly slows the worker;
it needs the right to trace a process. Both charge native code, system calls included, to the Python code above it.
"""

from __future__ import annotations

import argparse
import os
import pstats
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from benchmarks import payloads, procfs, tools, wrk
from benchmarks.peers import gateway, mock
from benchmarks.peers.base import Peer

BODIES = {"chat": payloads.chat(), "stream": payloads.chat(stream=True), "prompt": payloads.large()}


def drive(peer: Peer, folder: Path, kind: str, seconds: float) -> wrk.Run:
    """Load ``peer`` with one kind of request."""
    body = folder / f"{kind}.json"
    body.write_bytes(BODIES[kind])
    return wrk.load(peer.chat(stream=kind == "stream"), body, peer.headers, seconds=seconds)


def count_calls(kind: str, seconds: float, top: int) -> None:
    """Print the functions with the most self time by cProfile."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(mock.start(folder / "mock"))
        out = folder / "profile"
        command = [sys.executable, "-m", "benchmarks.profiled", str(out)]
        peer = stack.enter_context(gateway.start(folder / "gateway", upstream.url, command))
        drive(peer, folder, kind, 1)
        worker, _ = procfs.worker(peer.pid)
        os.kill(worker, signal.SIGUSR1)
        run = drive(peer, folder, kind, seconds)
        os.kill(worker, signal.SIGUSR2)
        deadline = time.monotonic() + 30
        while not out.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        print(f"{run.requests} requests while profiled")
        pstats.Stats(str(out)).strip_dirs().sort_stats("tottime").print_stats(top)


def sample(kind: str, seconds: float, top: int) -> None:
    """Print the frames most often on top of the stack by py-spy."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(mock.start(folder / "mock"))
        peer = stack.enter_context(gateway.start(folder / "gateway", upstream.url, [tools.gateway_command()]))
        drive(peer, folder, kind, 1)
        out = folder / "stacks"
        spy = [
            str(Path(sys.executable).parent / "py-spy"),
            "record",
            "--gil",
            "--nonblocking",
            "-f",
            "raw",
            "-r",
            "1000",
        ]
        spy += ["-d", str(round(seconds)), "-p", str(procfs.worker(peer.pid)[0]), "-o", str(out)]
        with subprocess.Popen(spy, stdout=subprocess.DEVNULL) as process:
            run = drive(peer, folder, kind, seconds)
            process.wait(30)
        frames: Counter[str] = Counter()
        for line in out.read_text().splitlines():
            stack_text, _, samples = line.rpartition(" ")
            frames[stack_text.rpartition(";")[2]] += int(samples)
        print(f"{run.requests} requests while sampled")
        for name, samples_seen in frames.most_common(top):
            print(f"{samples_seen / frames.total():7.1%}  {name}")


def main() -> None:
    """Parse the command line and profile."""
    parser = argparse.ArgumentParser(description="Profile the gateway's worker under load.")
    parser.add_argument("kind", nargs="?", choices=sorted(BODIES), default="chat")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--top", type=int, default=40)
    parser.add_argument("--sample", action="store_true", help="sample with py-spy instead of counting calls")
    options = parser.parse_args()
    (sample if options.sample else count_calls)(options.kind, options.seconds, options.top)


if __name__ == "__main__":
    main()
