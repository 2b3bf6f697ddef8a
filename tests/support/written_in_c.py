"""Modules written in C, built for a test with the flags of ``scripts/compile.py``; a warning is an error."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def built(source: str, folder: Path) -> ModuleType:
    """The module of a source, such as ``gateway/dataplane/members.c``."""
    path = ROOT / source
    extension = folder / f"{path.stem}{sysconfig.get_config_var('EXT_SUFFIX')}"
    compiler = os.environ.get("CC", "cc")
    flags = ["-O3", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-shared", "-fPIC"]
    include = f"-I{sysconfig.get_path('include')}"
    subprocess.run([compiler, *flags, include, str(path), "-o", str(extension)], check=True)
    spec = spec_from_file_location(path.stem, extension, loader=ExtensionFileLoader(path.stem, str(extension)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
