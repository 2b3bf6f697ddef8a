"""The modules that scripts/compile.py compiles are such as can be compiled."""

from __future__ import annotations

import ast
import runpy
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES: tuple[str, ...] = runpy.run_path(str(ROOT / "scripts" / "compile.py"))["MODULES"]
PURE = {"len", "min", "max", "index", "end"}
NOT_COMPILED = {"Enum", "Exception", "NamedTuple", "Protocol"}


@pytest.mark.parametrize("name", MODULES)
def test_classes_inherit_only_from_compiled_ones(name: str) -> None:
    """A Struct would lose its defaults, and what weak references an object has would outlive it."""
    compiled = _compiled()
    for node in _classes(name):
        bases = {ast.unparse(base) for base in node.bases}
        assert bases <= compiled | NOT_COMPILED, f"{name}: {node.name} inherits from {bases - compiled - NOT_COMPILED}"


@pytest.mark.parametrize("path", sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("gateway/**/*.py")))
def test_no_other_class_inherits_from_a_compiled_one(path: str) -> None:
    if path not in MODULES:
        classes = _classes(path)
        if not classes:
            return
        compiled = _compiled()
        imported = {
            alias.asname or alias.name
            for node in ast.walk(_tree(path))
            if isinstance(node, ast.ImportFrom) and f"{(node.module or '').replace('.', '/')}.py" in MODULES
            for alias in node.names
        }
        for node in classes:
            assert not {ast.unparse(base) for base in node.bases} & compiled & imported, f"{path}: {node.name}"


@pytest.mark.parametrize("name", MODULES)
def test_the_bounds_of_slices_do_nothing(name: str) -> None:
    """Of what is no list, text or bytes they are evaluated twice: bytes would be written twice."""
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Slice):
            called = {ast.unparse(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}
            assert {function.rpartition(".")[2] for function in called} <= PURE, f"{name}:{node.lineno}: {called}"


@cache
def _compiled() -> frozenset[str]:
    return frozenset(node.name for module in MODULES for node in _classes(module))


@cache
def _classes(name: str) -> list[ast.ClassDef]:
    return [node for node in ast.walk(_tree(name)) if isinstance(node, ast.ClassDef)]


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text())
