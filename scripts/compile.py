"""Compile the modules that every request passes through: ``python scripts/compile.py DIRECTORY``.

With mypyc those of Python, and what is written in C, which the gateway does without where it is not compiled.

``DIRECTORY`` gets a copy of ``gateway`` and ``plugins`` with an extension beside each compiled module, which Python
prefers to the source of the same name, and ``bin/gateway``, which runs it in this Python's environment. Where the two
packages are installed already (an image's site-packages) only the extensions are added. The checkout is never touched,
so that no extension can stand before an edited source. Needs a C compiler and mypy; what runs the result needs neither.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A compiled class can't be inherited from by one that is not, and must not inherit from one: a Struct loses its
# defaults, and of other classes the weak references are not cleared when an object goes, so that the process crashes.
# Modules with such classes stay as they are; tests/architecture holds this list to it.
MODULES = (
    "gateway/bus/usage_journal.py",
    "gateway/dataplane/access_log.py",
    "gateway/dataplane/admission/count.py",
    "gateway/dataplane/admission/limiter.py",
    "gateway/dataplane/admission/registry.py",
    "gateway/dataplane/admitting.py",
    "gateway/dataplane/answers.py",
    "gateway/dataplane/attempt.py",
    "gateway/dataplane/auth.py",
    "gateway/dataplane/body.py",
    "gateway/dataplane/breaker.py",
    "gateway/dataplane/calling.py",
    "gateway/dataplane/choosing.py",
    "gateway/dataplane/clock.py",
    "gateway/dataplane/concurrency.py",
    "gateway/dataplane/emit.py",
    "gateway/dataplane/endpoints/ml.py",
    "gateway/dataplane/exchange.py",
    "gateway/dataplane/flow.py",
    "gateway/dataplane/learned/answering.py",
    "gateway/dataplane/learned/asking.py",
    "gateway/dataplane/learned/auto.py",
    "gateway/dataplane/learned/decider.py",
    "gateway/dataplane/learned/engine.py",
    "gateway/dataplane/learned/exploring.py",
    "gateway/dataplane/learned/features.py",
    "gateway/dataplane/learned/noting.py",
    "gateway/dataplane/learned/ordering.py",
    "gateway/dataplane/learned/prompts.py",
    "gateway/dataplane/learned/question.py",
    "gateway/dataplane/learned/taught.py",
    "gateway/dataplane/learned/telling.py",
    "gateway/dataplane/load.py",
    "gateway/dataplane/metrics.py",
    "gateway/dataplane/native.py",
    "gateway/dataplane/needs.py",
    "gateway/dataplane/opening.py",
    "gateway/dataplane/pipeline.py",
    "gateway/dataplane/pricing.py",
    "gateway/dataplane/reading.py",
    "gateway/dataplane/receiving.py",
    "gateway/dataplane/relay.py",
    "gateway/dataplane/repeating.py",
    "gateway/dataplane/retries.py",
    "gateway/dataplane/routing.py",
    "gateway/dataplane/sending.py",
    "gateway/dataplane/settlement.py",
    "gateway/dataplane/soundness.py",
    "gateway/dataplane/streaming.py",
    "gateway/dataplane/target.py",
    "gateway/dataplane/upstream/connection.py",
    "gateway/dataplane/upstream/pool.py",
    "gateway/dataplane/usage.py",
    "gateway/dataplane/writes.py",
    "gateway/plugin/chain.py",
    "gateway/plugin/failures.py",
    "gateway/plugin/request.py",
    "gateway/plugin/sse.py",
    "gateway/routing/confidence.py",
    "gateway/routing/costs.py",
    "gateway/routing/decision.py",
    "gateway/routing/estimates.py",
    "gateway/routing/features.py",
    "gateway/routing/panel.py",
    "gateway/routing/products.py",
    "gateway/routing/request.py",
)

# Each with a module of Python's that takes its place, and is the one that says what is wrong with an input.
_FOR_X86 = ("gateway/dataplane/members.c",) if platform.machine() in ("x86_64", "AMD64") else ()
WRITTEN_IN_C = (*_FOR_X86, "gateway/routing/summing.c")
FLAGS = ["-O3", "-g0", "-Wall", "-Wextra", "-Wno-unused-parameter"]

# C's own optimisation; -g would make the extensions several times as large.
_SETUP = """
from mypyc.build import mypycify
from setuptools import Extension, setup

arguments = ["--config-file", "pyproject.toml", *{modules!r}]
modules = mypycify(arguments, opt_level="3", debug_level="0", group_name="gateway")
for source in {sources!r}:
    name = source.removesuffix(".c").replace("/", ".")
    modules.append(Extension(name, [source], libraries=["m"], extra_compile_args={flags!r}))
setup(name="compiled", packages=[], py_modules=[], ext_modules=modules)
"""


def compile_into(directory: Path) -> list[Path]:
    """Build the extensions in a temporary copy of the sources and put them in place; returns where they are."""
    with tempfile.TemporaryDirectory(prefix="compile-") as name:
        copy = Path(name)
        for package in ("gateway", "plugins"):
            shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", "tests"))
        # Only mypy's part: setuptools would read the project's own metadata out of the whole file.
        (copy / "pyproject.toml").write_text(_mypy_settings())
        setup = copy / "setup.py"
        setup.write_text(_SETUP.format(modules=MODULES, sources=WRITTEN_IN_C, flags=FLAGS))
        path = os.pathsep.join(filter(None, (str(copy), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
        subprocess.run(command, cwd=copy, check=True, env={**os.environ, "PYTHONPATH": path})  # noqa: S603
        return _put(copy, directory)


def _mypy_settings() -> str:
    lines = (ROOT / "pyproject.toml").read_text().splitlines(keepends=True)
    kept, keep = [], False
    for line in lines:
        if line.startswith("["):
            keep = "tool.mypy" in line
        if keep and not line.startswith(("files", "mypy_path")):
            kept.append(line)
    return "".join(kept)


def _put(copy: Path, directory: Path) -> list[Path]:
    if not (directory / "gateway").exists():
        for package in ("gateway", "plugins"):
            shutil.copytree(copy / package, directory / package, ignore=shutil.ignore_patterns("*.so"))
        for name in ("plans.yaml", "roles.yaml"):
            (directory / "config").mkdir(exist_ok=True)
            shutil.copy2(ROOT / "config" / name, directory / "config" / name)  # see gateway.kernel.shipped
        shutil.copytree(ROOT / "config" / "providers", directory / "config" / "providers")
        _write_command(directory / "bin" / "gateway")
    placed = []
    for extension in sorted(copy.rglob("*.so")):
        if "build" not in extension.relative_to(copy).parts:
            target = directory / extension.relative_to(copy)
            shutil.copy2(extension, target)
            placed.append(target)
    return placed


def _write_command(path: Path) -> None:
    path.parent.mkdir()
    folder = '$(cd "$(dirname "$0")/.." && pwd)'
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.prefix}/bin/gateway" "$@"\n')
    path.chmod(0o755)


def main() -> None:
    """Compile into the directory named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/compile.py DIRECTORY")
    directory = Path(sys.argv[1])
    placed = compile_into(directory)
    size = sum(path.stat().st_size for path in placed) // 1000
    print(f"compiled {len(MODULES) + len(WRITTEN_IN_C)} modules into {directory} ({size:,} kB)")


if __name__ == "__main__":
    main()
