"""Runs a scenario of a Node client script; the clients come from ``scripts/install-clients``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_CLIENTS = _ROOT / ".cache" / "clients"
_SCRIPTS = _ROOT / "tests" / "scenarios" / "node"


@contextmanager
def node_client(
    script: str,
    scenario: str,
    base_url: str,
    key: str,
    marker: str = "",
    abort_when: Callable[[], object] | None = None,
) -> Iterator[Any]:
    """What ``scenario`` of ``script`` returned; a scenario that stays is ended after the block.

    Once ``abort_when`` returns, the script gets SIGUSR2, on which it aborts its request.
    Raises ``AssertionError`` with Node's words if the scenario fails.
    """
    assert (_CLIENTS / "installed").exists(), "the Node clients are missing: run scripts/install-clients"
    with subprocess.Popen(
        [str(_CLIENTS / "node"), "--input-type=module", "-", scenario],
        cwd=_CLIENTS,
        env={**os.environ, "BASE_URL": base_url, "API_KEY": key, "MARKER": marker},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            # From standard input, so that imports are looked up in the working directory.
            process.stdin.write((_SCRIPTS / "harness.mjs").read_text() + (_SCRIPTS / script).read_text())
            process.stdin.close()
            if abort_when is not None:
                abort_when()
                process.send_signal(signal.SIGUSR2)
            line = process.stdout.readline()
            if not line:
                assert process.stderr is not None
                raise AssertionError(f"{script} {scenario!r} failed:\n{process.stderr.read()}")
            yield json.loads(line)
        finally:
            process.kill()
