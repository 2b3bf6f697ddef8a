"""Modules written in C, built for a test with the flags of ``scripts/compile.py``; a warning is an error."""

from __future__ import annotations

import runpy
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from setuptools import Distribution, Extension

ROOT = Path(__file__).resolve().parents[2]


def built(source: str, folder: Path) -> ModuleType:
    """The module of a source, such as ``gateway/dataplane/members.c``."""
    path = ROOT / source
    flags = [*runpy.run_path(str(ROOT / "scripts" / "compile.py"))["FLAGS"], "-Werror"]
    extension = Extension(path.stem, [str(path)], libraries=["m"], extra_compile_args=flags)
    command = Distribution({"name": path.stem, "ext_modules": [extension]}).get_command_obj("build_ext")
    command.build_lib = command.build_temp = str(folder)
    command.ensure_finalized()
    command.run()
    (made,) = command.get_outputs()
    spec = spec_from_file_location(path.stem, made, loader=ExtensionFileLoader(path.stem, made))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
