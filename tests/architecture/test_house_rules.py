"""Rules of the house that no linter knows: sizes, `global`, reasons for late imports, and who may import whom."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Where it has certainly gone wrong; files are to be around 100 lines and functions under 40.
LONGEST_FILE = 450
USUAL_FILE = 150
LONGEST_FUNCTION = 60

# A package and what it must never import, packages of later planes included.
APART = {
    "dataplane": {"cli", "dialects", "domain", "local", "sidecar", "store"},
    "local": {"cli", "contract", "dataplane", "dialects", "domain", "plugin", "providers", "sidecar", "store"},
    "contract": {"cli", "dataplane", "dialects", "domain", "local", "plugin", "providers", "sidecar", "store"},
    "providers": {"cli", "dataplane", "dialects", "domain", "local", "sidecar", "store"},
    "plugin": {"cli", "dataplane", "dialects", "domain", "local", "sidecar", "store"},
    "domain": {"cli", "dataplane", "dialects", "sidecar"},
    "store": {"cli", "dataplane", "dialects", "sidecar"},
}


def sources() -> list[Path]:
    """Every module of the product."""
    found = sorted([*(ROOT / "gateway").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
    assert len(found) > 30
    return [path for path in found if "tests" not in path.parts]


@cache
def tree(path: Path) -> ast.Module:
    """The parsed module."""
    return ast.parse(path.read_text())


def shown(path: Path, line: int) -> str:
    """A place a person can open."""
    return f"{path.relative_to(ROOT)}:{line}"


def test_files_stay_readable() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert {path: lines for path, lines in long.items() if lines > LONGEST_FILE} == {}
    assert median(long.values()) <= USUAL_FILE


def test_functions_stay_short() -> None:
    long = []
    for path in sources():
        if "migrations" in path.parts:
            continue  # a list of tables, written once
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                start = node.body[0].lineno if not node.decorator_list else node.lineno
                length = (node.end_lineno or start) - start + 1
                if length > LONGEST_FUNCTION:
                    long.append(f"{shown(path, node.lineno)} {node.name}: {length} lines")
    assert long == []


def test_nothing_is_global() -> None:
    used = [
        shown(path, node.lineno) for path in sources() for node in ast.walk(tree(path)) if isinstance(node, ast.Global)
    ]
    assert used == []


def test_an_import_in_a_function_says_why() -> None:
    silent = []
    for path in sources():
        lines = path.read_text().splitlines()
        for function in ast.walk(tree(path)):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    before = lines[node.lineno - 2].strip()
                    explained = before.startswith("#") or "import" in before
                    if not explained and " - " not in lines[node.lineno - 1]:
                        silent.append(shown(path, node.lineno))
    assert silent == []


def imported(path: Path) -> set[str]:
    """The packages of the gateway that a module imports, ``TYPE_CHECKING`` included."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("gateway.")}


@pytest.mark.parametrize("package", sorted(APART))
def test_packages_stay_apart(package: str) -> None:
    crossed = {
        str(path.relative_to(ROOT)): sorted(found)
        for path in (ROOT / "gateway" / package).rglob("*.py")
        if (found := imported(path) & APART[package])
    }
    assert crossed == {}


def test_the_kernel_imports_nothing_of_ours() -> None:
    assert {
        str(path): found
        for path in (ROOT / "gateway" / "kernel").rglob("*.py")
        if (found := imported(path) - {"kernel"})
    } == {}


def test_only_the_edges_read_the_environment() -> None:
    # The data plane and the engine hand it to the loader when they reload.
    allowed = {
        "gateway/cli",
        "gateway/settings",
        "gateway/local/__main__.py",
        "gateway/sidecar/__main__.py",
        "gateway/dataplane/worker.py",
    }
    readers = []
    for path in sources():
        place = str(path.relative_to(ROOT))
        if any(place.startswith(prefix) for prefix in allowed):
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                readers.append(shown(path, node.lineno))
    assert readers == []
