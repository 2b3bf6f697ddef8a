"""The mock upstream and the gateway before it, left standing: ``python -m benchmarks.stand``, ended by Ctrl-C.

For driving the benchmark's gateway by hand or by Locust. Prints the base URL and the key.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import payloads, tools
from benchmarks.peers import gateway, mock


def main() -> None:
    """Start both, print how to reach them, and wait."""
    parser = argparse.ArgumentParser(description="Run the mock upstream and the gateway until interrupted.")
    parser.add_argument("--gateway", default=tools.gateway_command(), help="the gateway command")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        upstream = stack.enter_context(mock.start(folder / "mock"))
        peer = stack.enter_context(gateway.start(folder / "gateway", upstream.url, [options.gateway]))
        print(f"export GATEWAY_HOST={peer.url} GATEWAY_KEY={gateway.KEY} GATEWAY_MODEL={payloads.MODEL}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
