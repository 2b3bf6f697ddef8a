from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
HEAVY = ("pydantic", "httpx", "rich", "jsonschema", "starlette", "uvicorn", "asyncio", "aiocache")


@pytest.mark.parametrize(
    "code",
    [
        "from gateway.settings.load import load; load('gateway.yaml', {})",
        "import gateway.cli.serve",
    ],
)
def test_a_sound_start_imports_nothing_heavy(code: str) -> None:
    check = f"{code}; import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stdout + done.stderr
