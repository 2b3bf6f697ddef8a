"""Where the programs are that the benchmark drives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench"
UNPACKED = CACHE / "root"
COMPILED = ROOT / "build" / "compiled" / "bin" / "gateway"


class MissingToolError(Exception):
    """A program the benchmark needs is not installed."""


def find(name: str) -> str:
    """The path of ``nginx`` or ``wrk``: unpacked by ``scripts/install-bench``, else the system's."""
    for folder in ("usr/sbin", "usr/bin"):
        if (path := UNPACKED / folder / name).exists():
            return str(path)
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    if found := shutil.which(name, path=search):
        return found
    raise MissingToolError(f"{name} is not installed: run scripts/install-bench")


def library_path() -> dict[str, str]:
    """The environment that lets unpacked programs find the libraries unpacked with them."""
    folders = [str(path) for path in UNPACKED.glob("usr/lib/*-linux-*")]
    return {"LD_LIBRARY_PATH": os.pathsep.join(folders)} if folders else {}


def gateway_command() -> str:
    """The ``gateway`` command beside this interpreter."""
    return str(Path(sys.executable).parent / "gateway")


def compiled_command() -> str:
    """The ``gateway`` command that ``make compiled`` built. Raises :class:`MissingToolError`."""
    if not COMPILED.exists():
        raise MissingToolError("the compiled gateway has not been built: run make compiled")
    return str(COMPILED)


def install(peer: str) -> None:
    """Install an optional peer. Raises :class:`MissingToolError` where that fails."""
    script = ROOT / "scripts" / "install-bench"
    if subprocess.run([str(script), peer], check=False).returncode:
        raise MissingToolError(f"{peer} could not be installed; what scripts/install-bench printed says why")


def version(command: list[str]) -> str:
    """The first line a program prints of itself, or ``unknown``."""
    env = {**os.environ, **library_path()}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=env, check=False)
    except OSError:
        return "unknown"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"
